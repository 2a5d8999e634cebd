"""What `--help` prints: what the command does, then its flags, by section.

A command names a section before the flags that belong to it:

    command_help.section("Data")
    flags.DEFINE_string("data", None, "Train on the converted dataset in this folder.")

absl's own help sorts all flags by name, and ends with status 1.
"""

import os
import re
import sys
import textwrap
from collections.abc import Iterator

from absl import flags

_WIDTH = 100
_sections: list[tuple[str, frozenset[str]]] = []


def section(title: str) -> None:
    """Puts the flags that are defined from here on, until the next title, under `title`."""
    _sections.append((title, frozenset(flags.FLAGS)))


class _Help(flags.BooleanFlag):
    """Prints a text as soon as it is read, before missing flags are complained about."""

    def __init__(self, name: str, short_name: str | None, everything: bool = False) -> None:
        super().__init__(name, False, "Show this text.", short_name=short_name, allow_override=True)
        self._everything = everything

    def parse(self, argument: str | bool) -> None:
        super().parse(argument)
        if self.value:
            _show(_text() + (flags.FLAGS.get_help() if self._everything else ""))
            sys.exit(0)


def define_flags() -> None:
    """Takes the place of absl's help flags, which have to be defined already."""
    flags.DEFINE_flag(_Help("help", "h"))
    flags.DEFINE_flag(_Help("helpshort", "?"))
    flags.DEFINE_flag(_Help("helpfull", None, everything=True))


def _show(words: str) -> None:
    try:
        print(words, flush=True)
    except BrokenPipeError:  # as in `... --help | head`; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text() -> str:
    """The docstring of the program that runs, and its flags."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip()]
    for title, members in _by_section():
        lines += ["", f"{title}:", *(line for flag in members for line in _lines(flag))]
    lines += [
        "",
        "Of every command:",
        "  -h, --help",
        "      Show this text. --helpfull adds the flags of the libraries.",
        "  --flagfile=FILE",
        "      Read flags from this file, one on a line.",
        *_lines(flags.FLAGS["traceback"]),
        "",
        "Names of flags may be written with - or with _.",
        "",
    ]
    return "\n".join(lines)


def _by_section() -> Iterator[tuple[str, list[flags.Flag]]]:
    # The program's own flags and those it has adopted, not the libraries'.
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])  # absl's name of the program
    starts = [("Flags", frozenset()), *_sections]
    ends = [names for _, names in starts[1:]] + [frozenset(flags.FLAGS)]
    for (title, before), names in zip(starts, ends):
        members = [flag for flag in own if flag.name in names - before]
        if members:
            yield title, members


def _lines(flag: flags.Flag) -> list[str]:
    name, notes = f"--{flag.name}", []
    if flag.boolean:
        name = f"--[no]{flag.name}"
    elif choices := getattr(flag.parser, "enum_values", None):
        notes.append(f"one of {', '.join(choices)}")
    elif flag.parser.syntactic_help:
        notes.append(flag.parser.syntactic_help)
    # absl marks a required flag by this validator alone.
    if any("other than None" in validator.message for validator in flag.validators):
        notes.append("required")
    elif flag.default not in (None, "", []):
        notes.append(f"default: {_default(flag)}")
    head = name + (f" ({'; '.join(notes)})" if notes else "")
    return [_wrapped(head, "  ", "        "), _wrapped(_sentence(flag), "      ", "      ")]


def _sentence(flag: flags.Flag) -> str:
    """A flag's help without what absl adds to it: the choices and how lists are given."""
    words = re.sub(r"^<[^>]*>: ", "", flag.help)
    return re.sub(r";\s+repeat this option .*$", " Give it again for another.", words)


def _default(flag: flags.Flag) -> str:
    if flag.boolean:
        return "yes" if flag.default else "no"
    if isinstance(flag.default, list):
        return ", ".join(flag.default)
    return str(flag.default)


def _wrapped(words: str, first: str, others: str) -> str:
    return textwrap.fill(
        words,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
