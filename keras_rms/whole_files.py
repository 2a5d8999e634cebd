"""Files that are there as a whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = "unfinished."


@contextmanager
def whole_file(path: str | os.PathLike, shared: bool = False) -> Iterator[Path]:
    """A name to write a file under, which becomes `path` once it is complete and on the disk.

    Args:
        path: Replaced if it exists; after an error it is as it was. A device or a pipe, as
            /dev/null, is written itself.
        shared: Whether other processes may write the same file now: each then has its own name.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    # Before the name: Keras looks at endings. Always the same, so that the next save removes what a
    # killed one left.
    own = f"{secrets.token_hex(4)}." if shared else ""
    unfinished = path.with_name(f"{UNFINISHED}{own}{path.name}")
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
