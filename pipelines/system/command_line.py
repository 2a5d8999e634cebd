"""How every command of the project starts, and how it ends when something is wrong.

A user's mistake or a damaged input is raised as ValueError or OSError with a paragraph that names
the input and the remedy. `run` prints that paragraph alone; `--traceback` shows where it came from.
"""

import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags

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
    app.run(lambda arguments: _to_its_end(main, arguments))


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
