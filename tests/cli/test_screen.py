"""What files and arguments say reaches the terminal as text."""

import logging
import re
import subprocess
import sys
import traceback
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nipype import logging as nipype_logging

from nipype_group.cli import demo as demo_module
from nipype_group.cli import report as report_module
from nipype_group.cli.main import main
from nipype_group.cli.screen import plain, plain_output

# Cc and the marks of direction and ends of lines among Cf, Zl and Zp; a line may end.
_OF_DIRECTION = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "PDI", "FSI")
CONTROLS = [
    chr(n)
    for n in range(0x3000)
    if (unicodedata.category(chr(n)) in ("Cc", "Zl", "Zp") and chr(n) not in "\n\t")
    or unicodedata.bidirectional(chr(n)) in _OF_DIRECTION
]
COMMANDS = {
    "report": lambda name: ("report", name),
    "report of a peer": lambda name: ("report", name, "out"),
    "report of a map": lambda name: ("report", "--stat-map", name, "out"),
    "nidm": lambda name: ("nidm", name),
    "diff": lambda name: ("diff", name, name),
    "replay": lambda name: ("replay", name),
    "run": lambda name: (
        "run",
        "out",
        "--maps",
        name,
        "--formula",
        "1",
        "--contrast",
        "a=intercept",
    ),
    "run with a contrast": lambda name: (
        "run",
        "out",
        "--maps",
        "maps.tsv",
        "--formula",
        "1",
        "--contrast",
        name,
    ),
    "demo": lambda name: ("demo", name, "out"),
    "no command": lambda name: (name,),
}


def shown(*streams):
    return "".join(streams)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_control_character_of_an_argument_is_printed(capsys, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps.tsv").write_text("participant_id\tmap\n")
    for character in CONTROLS:
        if character == "\0":
            continue
        arguments = COMMANDS[name](f"no{character}where")
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        text = shown(*capsys.readouterr())
        assert code in (1, 2)
        assert text
        assert character not in text, (arguments, text)
        assert "Traceback" not in text


@given(st.text())
def test_plain_text_holds_no_control_character(text):
    made = plain(text)
    assert not set(CONTROLS) & set(made)
    made.encode("utf-8")
    # What needs no change is as it was.
    if not set(CONTROLS) & set(text) and not re.search("[\ud800-\udfff]", text):
        assert made == text
    assert plain(text, "ascii").isascii()


def test_nothing_that_writes_to_the_screen_goes_past(capsys):
    bad = "a\x1b[31mb\x9bc\rd"
    with plain_output():
        logger = nipype_logging.getLogger("nipype.workflow")
        print(bad)
        print(bad, file=sys.stderr)
        sys.stdout.writelines([bad, "\n"])
        # Handlers that are there before keep the stream of then.
        handler = logging.StreamHandler(sys.stderr)
        logger.addHandler(handler)
        logger.critical(bad)
        logger.removeHandler(handler)
        try:
            raise ValueError(bad)
        except ValueError:
            traceback.print_exc()
    text = shown(*capsys.readouterr())
    assert text.count("a\\x1b[31mb\\x9bc\\x0dd") == 5
    assert not set(CONTROLS) & set(text)


def test_handlers_made_before_write_plain_text_and_get_their_stream_back(capsys):
    handler = logging.StreamHandler(sys.stderr)
    before, logger = handler.stream, logging.getLogger("made.before")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with plain_output():
            logger.error("a\x1bb")
    finally:
        logger.removeHandler(handler)
    assert handler.stream is before
    assert sys.stderr is before
    assert capsys.readouterr().err == "a\\x1bb\n"


_PROGRAM = """
import warnings
from nipype import logging
from nipype_group.cli import nidm
from nipype_group.cli.main import main

tell = nidm.write_nidm_pack
def loud(*arguments, **options):
    logging.getLogger("nipype.workflow").critical("log\x1b")
    warnings.warn("warning\x1b")
    return tell(*arguments, **options)
nidm.write_nidm_pack = loud
raise SystemExit(main(["nidm", "caf\xe9\x1b"]))
"""


def test_a_terminal_without_the_letters_gets_escapes(tmp_path):
    (tmp_path / "caf\xe9\x1b").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONIOENCODING": "ascii:strict", "NO_ET": "1", "HOME": str(tmp_path)},
    )
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert b"\x1b" not in text
    assert b"caf\\xe9\\x1b holds no *contrasts.json" in text
    for said in (b"log\\x1b", b"UserWarning: warning\\x1b"):
        assert said in text


@pytest.mark.parametrize("error", [KeyError("a\x1bb"), RecursionError("deep"), AssertionError()])
def test_what_nobody_foresaw_is_one_line_and_a_file(command, monkeypatch, tmp_path, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr(report_module, "own_results", fail)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code, out, err = command("report", tmp_path)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    said = re.match(r"nipype-group report: (\w+).*unforeseen; its traceback is in (\S+), ", err)
    assert said[1] == type(error).__name__
    kept = Path(said[2])
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_scripts_print_plain_text_too(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        demo_module.run_script("association", "a script", ["out", "--n-procs", "a\x1bb"])
    assert "\x1b" not in shown(*capsys.readouterr())
