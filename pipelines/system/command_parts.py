"""Commands that have parts with flags of their own, as `keras-rms benchmark layer --width=8`."""

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType


def import_part(package: str, parts: Sequence[str]) -> list[ModuleType]:
    """Imports the part that the command line names; its words join those of --help.

    To be called before the flags are read. Without a known part the words after an unknown name
    are dropped: they would be complained about first.

    Args:
        package: Of the parts' modules.
        parts: Their names.

    Returns:
        The modules of the package with flags that belong to the command; it has to adopt them.
    """
    for part in sys.argv[1:]:
        # The first: a later one may be the value of a flag.
        if part in parts:
            # On another backend TensorFlow may not be installed.
            if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
                importlib.import_module("pipelines.system.quiet_tensorflow")
            module = importlib.import_module(f"{package}.{part}")
            main = sys.modules["__main__"]
            main.__doc__ = f"{(main.__doc__ or '').strip()}\n\n{part}:\n\n{module.__doc__}"
            return [found for name, found in sys.modules.items() if name.startswith(f"{package}.")]
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        del sys.argv[2:]
    return []


def part_of(words: Sequence[str], package: str, parts: Sequence[str]) -> ModuleType:
    """The module that the words after the command name.

    Raises:
        ValueError: If they do not name exactly one part, or it comes after a flag of such a value.
    """
    if len(words) != 1 or words[0] not in parts:
        raise ValueError(f"Name one of {', '.join(parts)}. Received: {' '.join(words) or 'none'}")
    module = sys.modules.get(f"{package}.{words[0]}")
    if module is None:  # what was imported was a flag's value that stood before
        raise ValueError(f"Name {words[0]} before all flags. Received: {' '.join(sys.argv[1:])}")
    return module
