"""Help in two lengths, and one line on arguments that are wrong."""

import pytest

from nipype_group.cli.main import build_parser


def subparsers():
    parser = build_parser()
    (action,) = (a for a in parser._actions if hasattr(a, "_name_parser_map"))
    return dict(action.choices)


COMMANDS = subparsers()
SHORT = [name for name, parser in COMMANDS.items() if parser.common]


@pytest.mark.parametrize("name", SHORT)
def test_short_help_tells_the_common_options_and_where_all_are(command, name):
    code, short, _ = command(name, "--help")
    assert code == 0
    options = {line.split()[0] for line in short.splitlines() if line.startswith("  --")}
    assert options == set(COMMANDS[name].common)
    everything = [o for a in COMMANDS[name]._actions for o in a.option_strings[-1:]]
    assert f"nipype-group {name} --help-all tells all {len(everything)} options" in short
    code, full, _ = command(name, "--help-all")
    assert code == 0
    assert [option for option in everything if option not in full] == []
    # Examples stand below both.
    first = COMMANDS[name].examples.splitlines()[1]
    assert first in short and first in full


def test_commands_of_many_options_have_a_short_help():
    many = [name for name, parser in COMMANDS.items() if len(parser._actions) > 30]
    assert sorted(many) == sorted(SHORT) and {"plan", "report", "run"} <= set(many)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "--smoothing", "5"],
            "run: there is no option --smoothing, did you mean --smooth?",
        ),
        (["run", "out", "--permutation=5"], "run: "),
        (["demo", "associaton", "out"], "did you mean association?"),
        (["plann"], "'plann' is none of run, plan"),
        (["plann"], "did you mean plan?"),
        (["run", "out", "--maps", "a", "--estimator", "hubr"], "did you mean huber?"),
        (["run", "out"], "one of the arguments --maps --bids --pattern --stack is required"),
        (["run", "out", "--maps", "a", "b"], "unrecognized arguments: b"),
        (["run", "out", "--maps", "a", "--connectivity", "7"], "7 is none of 6, 18, 26"),
        (["run", "out", "--maps", "a", "--combine", ""], "--combine: '': it names nothing"),
        (["run", "out", "--maps", "a", "--between", " ,"], "--between: ' ,': it names nothing"),
        ([], "required: COMMAND"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_nearest_word(command, arguments, said):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("nipype-group") and line.endswith(" --help)") and said in line


def test_values_that_look_like_options_are_no_options(command, tmp_path):
    # An expression that begins with signs and has spaces, and what stands behind a bare --.
    parser = build_parser()
    given = parser.parse_args(["run", "out", "--maps", "m", "--formula", "--a + b"])
    assert given.formula == "--a + b"
    given = parser.parse_args(["compare", "--", "--strange", "b"])
    assert given.first == "--strange"
