"""How every command of the project starts, and how it ends when something is wrong.

A flag may be written --work-dir or --work_dir; -h and --help end with status 0. A user's mistake
or a damaged input is raised as ValueError or OSError with a paragraph that names the input and the
remedy. `run` prints that paragraph alone; `--traceback` shows where it came from.
"""

import itertools
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags

from pipelines.system import command_help, output_paths

FAILURE = 1
INTERRUPTED = 130  # what shells report for a process ended by Ctrl-C

_TRACEBACK = flags.DEFINE_bool(
    "traceback", False, "On an error, show the Python traceback and not only its message."
)


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """`absl.app.run(main)`, but a ValueError or OSError ends it with a message and status 1.

    Args:
        main: Takes the positional arguments (the program's name first) and returns an exit status
            or None.
    """
    app.run(lambda arguments: _to_its_end(main, arguments), flags_parser=_parsed)


def _parsed(arguments: Sequence[str]) -> list[str]:
    """Sets the flags, and returns the program's name and the positional arguments."""
    command_help.define_flags()
    program, *words = arguments
    try:
        # Files of flags first: names in them may be written with - too.
        words = flags.FLAGS.read_flags_from_files(words, force_gnu=False)
        positional = flags.FLAGS([program, *with_underscores(words)])
        _check_lists()
        output_paths.check()
        return positional
    except (flags.Error, ValueError) as error:
        print(paragraph(f"error: {_in_words(error)} See --help."), file=sys.stderr)
        sys.exit(FAILURE)


def _check_lists() -> None:
    """An empty list is not what a command does by default, and would be taken for that."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        is_list = isinstance(flag.parser, flags.ListParser)
        if is_list and flag.present and not flag.value and flag.default != []:
            raise ValueError(f"--{name} is empty. Name something in it, or leave it out.")


def _in_words(error: Exception) -> str:
    missing = r"flag (--\w+)=None: Flag --\w+ must have a value other than None\.?"
    words = re.sub(missing, r"\1 is missing.", str(error).strip())
    return words if words.endswith((".", "?")) else f"{words}."


def with_underscores(words: Sequence[str]) -> list[str]:
    """`--work-dir` as `--work_dir`, the name that the flag was defined with.

    Args:
        words: The arguments of a command, without the program's name.

    Returns:
        The same words. Only names of flags are changed: neither values, nor what follows `--`.
    """
    rest = iter(words)
    changed: list[str] = []
    for word in rest:
        if word == "--":
            return [*changed, word, *rest]
        written, equals, value = word.partition("=")
        name = _defined_name(written) if word.startswith("-") else None
        changed.append(f"--{name}{equals}{value}" if name else word)
        if not equals and name and name in flags.FLAGS and not flags.FLAGS[name].boolean:
            changed.extend(itertools.islice(rest, 1))  # its value, which may begin with - too
    return changed


def _defined_name(word: str) -> str | None:
    """work_dir of --work-dir, noflip of --no-flip; `None` where no flag has such a name."""
    name = word.lstrip("-").replace("-", "_")
    if name in flags.FLAGS:
        return name
    positive = name.removeprefix("no").removeprefix("_")
    is_boolean = positive in flags.FLAGS and flags.FLAGS[positive].boolean
    return f"no{positive}" if name.startswith("no") and is_boolean else None


def _to_its_end(
    main: Callable[[Sequence[str]], int | None], arguments: Sequence[str]
) -> int | None:
    try:
        status = _guarded(main, arguments)
    except Exception:
        if not _has_to_leave():
            raise
        traceback.print_exc()
        status = FAILURE
    if _has_to_leave():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)
    return status


def _guarded(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int | None:
    try:
        return main(arguments)
    except (ValueError, OSError) as error:
        if _TRACEBACK.value:
            raise
        print(paragraph(f"error: {error}"), file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print("\nStopped. The same command continues where it can.", file=sys.stderr)
        return INTERRUPTED


def _has_to_leave() -> bool:
    """Whether the process must not end normally, see `filesystems.used_plugin`."""
    filesystems = sys.modules.get("pipelines.system.filesystems")
    return filesystems is not None and filesystems.used_plugin()


def paragraph(text: str) -> str:
    """`text` on lines of at most 100 columns; names and paths are never broken."""
    # Names of files need not be Unicode; printing them would be an error of its own.
    text = text.encode("utf-8", "backslashreplace").decode()
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)
