"""The parser of the command: a help of two lengths, and one line on what is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from nipype_group.choices import nearest


class CommandParser(argparse.ArgumentParser):
    """Parser whose errors are one line with the nearest word, and whose help may be short.

    Parameters
    ----------
    common : sequence of str
        Options that ``--help`` tells, where ``--help-all`` tells all; none: ``--help`` does.
    examples : str
        What stands below both helps.
    **settings
        Those of `argparse.ArgumentParser`; its epilog stands below the help of all options.
    """

    def __init__(self, *, common: Sequence[str] = (), examples: str = "", **settings: Any):
        settings |= {"add_help": False, "formatter_class": _HelpFormatter}
        super().__init__(**settings)
        self.common, self.examples = tuple(common), examples
        if common:
            self.add_argument("-h", "--help", action=_ShortHelp, help="show the common options")
            self.add_argument("--help-all", action="help", help="show all options")
        else:
            self.add_argument("-h", "--help", action="help", help="show this help message")

    def format_help(self) -> str:
        """Return the help of all options."""
        epilog = self.epilog
        self.epilog = "\n".join(text for text in (self.examples, epilog) if text)
        try:
            return super().format_help()
        finally:
            self.epilog = epilog

    def format_short_help(self) -> str:
        """Return the help of the common options."""
        found = {name: action for action in self._actions for name in action.option_strings}
        formatter = self.formatter_class(prog=self.prog)
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        formatter.start_section("common options")
        formatter.add_arguments(
            [*self._get_positional_actions(), *(found[name] for name in self.common)]
        )
        formatter.end_section()
        n_options = sum(bool(action.option_strings) for action in self._actions)
        formatter.add_text(f"{self.prog} --help-all tells all {n_options} options.")
        formatter.add_text(self.examples)
        return formatter.format_help()

    # The annotations of argparse have one signature for each kind of namespace.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse arguments; an option that there is not comes before all else that is wrong."""
        words = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None:
            self._check_options(words)
        return super().parse_known_args(words, namespace)

    def _check_options(self, words):
        names = list(self._option_string_actions)
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            # What has a space is a value, and the start of a name may stand for it.
            if not name.startswith("--") or " " in word:
                continue
            if not any(known.startswith(name) for known in names):
                self.error(f"there is no option {name}{nearest(name, names)}")

    def _check_value(self, action, value):
        """Refuse what is none of the choices of an argument; argparse calls it."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            message = f"{value!r} is none of {', '.join(choices)}{nearest(str(value), choices)}"
            raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        """Leave with one line on what is wrong and where help is."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs, and keeps the lines of texts that have lines."""

    def _fill_text(self, text, width, indent):
        if "\n" in text.strip():
            return "".join(indent + line for line in text.splitlines(keepends=True)) + "\n"
        return super()._fill_text(text, width, indent)


class _ShortHelp(argparse.Action):
    """Prints the help of the common options and leaves."""

    def __init__(self, **settings):
        super().__init__(**settings, nargs=0, default=argparse.SUPPRESS)

    def __call__(self, parser, namespace, values, option_string=None):
        parser._print_message(parser.format_short_help(), sys.stdout)
        parser.exit()
