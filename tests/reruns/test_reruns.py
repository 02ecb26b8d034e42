"""A rerun after any edits equals a fresh run: a quick form of what sequences.py does at length."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import sequences
import world
from edits import EDITS, Draws, edits_of
from studies import STUDIES

# Every edit is the first one of some sequence.
N_SEQUENCES, MOST_EDITS = 48, 2


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return a folder for sequences; fresh runs are shared by all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    here = Path.cwd()
    with sequences.as_in_tests():
        yield sequences.Bench(tmp_path_factory.mktemp("reruns"), shared / "fresh-runs")
    os.chdir(here)


@pytest.mark.parametrize("number", range(N_SEQUENCES))
def test_reruns_equal_fresh_runs(bench, number):
    sequence = sequences.sequence_of(number, MOST_EDITS, quick=True)
    difference, _ = bench.attempt(sequence)
    if difference is not None:
        pytest.fail(sequences.failure_text(*bench.shorten(sequence)), pytrace=False)


def test_all_edits_of_all_studies_are_among_them():
    drawn = {
        (s["study"], e[0]) for s in map(sequences.sequence_of, range(4000)) for e in s["edits"]
    }
    assert drawn == {(study.name, name) for study in STUDIES.values() for name in edits_of(study)}
    few = [sequences.sequence_of(number, MOST_EDITS, quick=True) for number in range(N_SEQUENCES)]
    assert {e[0] for s in few for e in s["edits"]} == set(EDITS)
    assert sequences.sequence_of(3) == sequences.sequence_of(3) != sequences.sequence_of(10)


def test_results_of_other_settings_are_a_difference(bench, monkeypatch):
    """A command that leaves what stands there, where only one word of a sidecar is another."""
    command = world.nipype_group

    def idle(words):
        if any(word.endswith("/world/a") for word in words):
            print("Work      /nowhere, 0 MB: x (can be deleted)")
            return 0
        return command(words)

    sequence = {"study": "map", "edits": [["other option", 0, 0, 0]]}
    bench.attempt(sequence | {"edits": []})
    monkeypatch.setattr(world, "nipype_group", idle)
    difference, log = bench.attempt(sequence)
    assert "files are not those of a fresh run: group/" in difference
    assert "# alpha: --alpha 0.2" in log
    assert "nipype-group report" in log[-1]
    assert "--replay" in sequences.failure_text(sequence, difference, log)


def outcome(code=0, lines=("done",), **files):
    return world.Outcome(code, list(lines), files)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (outcome(a="1"), outcome(a="2"), r"1 files are not .*: a \(differs\)"),
        (outcome(a="1", b="1"), outcome(a="1"), r"b \(too much\)"),
        (outcome(), outcome(a="1"), r"a \(absent\)"),
        (outcome(1, ["nipype-group run: no"]), outcome(), "exit code 1, of a fresh run 0: .* no"),
        (outcome(), outcome(1, ["nipype-group run: no"]), "exit code 0, of a fresh run 1: .* no"),
        (outcome("KeyError: 1", []), outcome(1, []), "exit code KeyError"),
        (
            outcome(1, ["nipype-group run: a"]),
            outcome(1, ["nipype-group run: b"]),
            "says nipype-group run: a where a fresh run says nipype-group run: b",
        ),
        (outcome(lines=["x"]), outcome(lines=["x", "y"]), "the screen lacks .*: y"),
    ],
)
def test_what_differs_is_told(ours, theirs, message):
    with pytest.raises(world.Difference, match=message):
        world.compare(ours, theirs)


def test_what_is_equal_is_no_difference():
    world.compare(outcome(lines=["more", "x"], a="1"), outcome(lines=["x"], a="1"))
    world.compare(outcome(1, ["nipype-group: a", "WORK"]), outcome(1, ["nipype-group: a"]))


def test_a_difference_is_told_by_the_edits_it_needs(bench, monkeypatch):
    def attempt(sequence):
        names = [name for name, *_ in sequence["edits"]]
        needed = Counter(a=1, b=1)
        return ("wrong" if not needed - Counter(names) else None), names

    monkeypatch.setattr(bench, "attempt", attempt)
    sequence = {"study": "bids", "edits": [[name, 1] for name in "xaybbz"]}
    shortest, difference, log = bench.shorten(sequence)
    assert [name for name, _ in shortest["edits"]] == log == ["a", "b"]
    assert difference == "wrong"


def test_a_bench_makes_its_folders(tmp_path):
    sequences.Bench(tmp_path / "a" / "of one", tmp_path / "b" / "of all")
    assert (tmp_path / "a" / "of one").is_dir() and (tmp_path / "b" / "of all").is_dir()


def test_draws_stay_within_what_there_is():
    assert [Draws([n]).of("abc") for n in (0, 33, 34, 99)] == ["a", "a", "b", "c"]
    assert {Draws([n, m]).two(3) for n in range(100) for m in range(100)} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }
    assert [Draws([]).below(5), Draws([49]).chance(), Draws([50]).chance()] == [0, False, True]


@pytest.mark.parametrize(
    ("first", "commit", "expected"), [(3, "a", 5), (4, "a", 2), (3, "b", 2), (0, "a", 2)]
)
def test_a_run_adds_to_the_one_that_it_goes_on_from(first, commit, expected):
    counts = {"seconds": 60, "reruns": 9, "fresh_runs": 4, "machine": {}, "differences": []}
    earlier = {"commit": "a", "first": 0, "sequences": 3, "edits": {"x": 1, "y": 2}, **counts}
    later = {"commit": commit, "first": first, "sequences": 2, "edits": {"y": 1}, **counts}
    found = sequences.joined(earlier, later)
    assert found["sequences"] == expected
    if expected == 2:
        assert found == later
    else:
        assert (found["first"], found["reruns"], found["edits"]) == (0, 18, {"x": 1, "y": 3})
    assert sequences.joined(None, later) == later
