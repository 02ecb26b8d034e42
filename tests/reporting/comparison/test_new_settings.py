"""Settings that an older version did not have are set aside at their defaults, and no others."""

import json

import pytest

from nipype_group.reporting.comparison.documents import without_new_settings
from nipype_group.reporting.comparison.files import compare_files, difference_text

DEFAULTS = {"power": 2.0, "edges": "valid", "steps": None, "n": 1}


def sidecar(**parameters):
    content = {"Description": "z", "Parameters": {"alpha": 0.05, **parameters}, "Power": 2.0}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def page(**parameters):
    pairs = {"alpha": 0.05, **parameters}.items()
    facts = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>\n" for k, v in pairs)
    return (
        "<dl>\n<div><dt>power</dt><dd>2.0</dd></div>\n</dl>\n<details><summary>Parameters</summary>"
        f'\n<dl class="facts">\n{facts}</dl>\n</details><p>alpha 0.05</p>'
    )


def aside(name, older, newer, defaults=DEFAULTS):
    text, names = without_new_settings(name, older, newer, defaults)
    assert bool(names) == (text != newer)
    return text, names


@pytest.mark.parametrize(("name", "made"), [("a.json", sidecar), ("a_report.html", page)])
class TestSidecarsAndPages:
    def test_new_ones_at_their_defaults_are_set_aside(self, name, made):
        newer = made(power=2.0, edges="valid")
        assert aside(name, made(), newer) == (made(), ["power", "edges"])

    @pytest.mark.parametrize("value", [3.0, 2])
    def test_another_value_or_type_counts(self, name, made, value):
        assert aside(name, made(), made(power=value))[1] == []

    def test_what_is_on_both_sides_counts(self, name, made):
        assert aside(name, made(power=3.0), made(power=2.0))[1] == []

    def test_what_the_record_of_the_older_one_has_counts(self, name, made):
        assert aside(name, made(), made(power=2.0), {"edges": "valid"})[1] == []
        assert aside(name, made(), made(power=2.0), {})[1] == []

    def test_what_the_newer_one_lacks_counts(self, name, made):
        assert aside(name, made(power=2.0), made())[1] == []

    def test_other_differences_stay(self, name, made):
        text, names = aside(name, made(), made(power=2.0, edges="valid", seed=3))
        assert (text, names) == (made(seed=3), ["power", "edges"])


def test_types_are_told_apart():
    assert aside("a.json", sidecar(), sidecar(n=True))[1] == []
    assert aside("a.json", sidecar(), sidecar(steps=None, n=1))[1] == ["steps", "n"]


def test_values_of_a_page_are_unescaped():
    newer = page(edges="a &amp; b")
    assert aside("a.html", page(), newer, {"edges": "a & b"}) == (page(), ["edges"])


def test_names_of_a_page_have_spaces():
    newer = page().replace("<dt>alpha", "<dt>tfce power</dt><dd>2.0</dd></div>\n<div><dt>alpha")
    assert aside("a.html", page(), newer, {"tfce_power": 2.0})[1] == ["tfce_power"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("[1]\n", sidecar(power=2.0)),
        ('{"Parameters": 3}\n', sidecar(power=2.0)),
        ("{}\n", sidecar(power=2.0)),
        (sidecar(), "[]\n"),
        # Written otherwise than a run writes: what stays could not be compared byte for byte.
        (sidecar(), sidecar(power=2.0).replace("  ", " ")),
        (
            sidecar(),
            sidecar(power=2.0).replace('"alpha": 0.05', '"alpha": 0.05,\n    "alpha": 0.05'),
        ),
    ],
)
def test_what_is_no_sidecar_is_left_alone(older, newer):
    assert aside("a.json", older, newer) == (newer, [])


def test_other_files_are_left_alone():
    assert aside("a.tsv", sidecar(), sidecar(power=2.0))[1] == []
    assert aside("a.html", "<p>", page(power=2.0))[1] == []


@pytest.mark.parametrize(
    ("newer", "state", "words"),
    [
        (
            {"power": 2.0},
            "settings",
            "1 setting that the older version did not have, at its default",
        ),
        ({"power": 2.0, "edges": "valid"}, "settings", "2 settings that the older version"),
        ({"power": 2.0, "edges": "padded"}, None, "Parameters.edges: n/a -> padded"),
        ({"power": 2.5}, None, "Parameters.power: n/a -> 2.5"),
    ],
)
def test_files_are_compared_without_them(tmp_path, newer, state, words):
    paths = [tmp_path / name / "a.json" for name in ("older", "newer")]
    for path, text in zip(paths, (sidecar(), sidecar(**newer)), strict=True):
        path.parent.mkdir()
        path.write_text(text)
    found = compare_files(*paths, defaults=DEFAULTS)
    assert found.get("State") == state
    assert words in difference_text(found)
    assert "power: n/a -> 2.0" not in difference_text(found)
    assert compare_files(*paths).get("State") is None
