"""One command for everything: `keras-rms COMMAND`, or `python scripts COMMAND` in a checkout.

A command runs as if its file had been started by its path. Nothing but Python itself is imported
before, so that the help is there at once, and where the packages of the commands are missing too.
"""

import ast
import difflib
import importlib.metadata
import importlib.util
import os
import runpy
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_COLUMNS = 100
_NAME_COLUMNS = 22

# In the order in which they are needed. A name with a dot is a module, another a file beside this.
COMMANDS = {
    "demo": "demo.py",
    "convert": "pipelines.convert",
    "verify": "pipelines.verify",
    "train": "train.py",
    "evaluate": "evaluate.py",
    "predict": "predict.py",
    "explain": "explain.py",
    "compare": "compare.py",
    "report": "report.py",
    "analyze": "analyze.py",
    "import-weights": "import_weights.py",
    "demo-server": "demo_server.py",
    "export": "export.py",
    "ablate": "ablate.py",
    "compare-regularisers": "compare_regularisers.py",
    "benchmark": "benchmark.py",
    "data-service": "data_service.py",
    "demo-videos": "pipelines.demo_videos",
    "show-rms": "show_rms.py",
}

_BEGINNING = """\
Action recognition in Keras 3 with Random Mean Scaling (RMS).

usage: keras-rms COMMAND [FLAGS]
       keras-rms COMMAND --help    what the command does, examples, and its flags
       keras-rms --version

From a folder with a folder of videos for each class to a prediction:

  keras-rms convert --dataset=folder --videos=my_videos --split=train,validation --output=data
  keras-rms train --data=data --work_dir=run --model=slow_only_18 --width=16 --crop_size=112 \\
      --batch_size=16 --epochs=30
  keras-rms evaluate --work_dir=run --views=10x3
  keras-rms predict --work_dir=run some_video.mp4

Without videos of your own, `keras-rms demo` makes some and does all this with them.

commands:
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command that the words name; without words, those of the command line.

    Returns:
        An exit status. Most commands end the process themselves.
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("--help", "-help", "-h", "help"):
        print(_help())
        return 0 if words else 1
    if words[0] == "--version":
        print(importlib.metadata.version("keras_rms"))
        return 0
    if words[0] not in COMMANDS:
        print(_unknown(words[0]), file=sys.stderr)
        return 1
    try:
        _run(COMMANDS[words[0]], words[1:])
    except ModuleNotFoundError as error:
        if "--traceback" in words:
            raise
        print(_missing(words[0], error), file=sys.stderr)
        return 1
    return 0


def _run(command: str, words: Sequence[str]) -> None:
    if command.startswith("pipelines."):
        sys.argv = [command, *words]
        runpy.run_module(command, run_name="__main__", alter_sys=True)
    else:
        path = str(_FOLDER / command)
        sys.argv = [path, *words]
        if str(_FOLDER) not in sys.path:  # as when Python starts the file: it imports its parts
            sys.path.insert(0, str(_FOLDER))
        runpy.run_path(path, run_name="__main__")


def _help() -> str:
    recipes = sorted(path.stem for path in (_FOLDER / "recipes").glob("*.flags"))
    return "\n".join(
        [
            _BEGINNING + "\n".join(map(_line, COMMANDS)),
            "\nrecipes, files of flags for `keras-rms train --flagfile=RECIPE`:",
            textwrap.fill(
                ", ".join(recipes), _COLUMNS, initial_indent="  ", subsequent_indent="  "
            ),
        ]
    )


def _line(name: str) -> str:
    """A command and the first line of its docstring."""
    path = _file(COMMANDS[name])
    says = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path else None
    return f"  {name:{_NAME_COLUMNS}}{(says or '').partition(chr(10))[0]}".rstrip()


def _file(command: str) -> Path | None:
    if not command.startswith("pipelines."):
        return _FOLDER / command
    package = importlib.util.find_spec("pipelines")
    folders = package.submodule_search_locations if package else None
    return Path(next(iter(folders))) / f"{command.partition('.')[2]}.py" if folders else None


def _unknown(word: str) -> str:
    close = difflib.get_close_matches(word.replace("_", "-"), COMMANDS, 1)
    meant = f" Did you mean `keras-rms {close[0]}`?" if close else ""
    listed = "" if close else f" They are {', '.join(COMMANDS)}."
    return _paragraph(
        f"error: keras-rms has no command `{word}`.{meant}{listed} `keras-rms --help` says what "
        "each does."
    )


def _missing(name: str, error: ModuleNotFoundError) -> str:
    if error.name == os.environ.get("KERAS_BACKEND"):
        return _paragraph(
            f"error: KERAS_BACKEND={error.name} needs the Python package `{error.name}`, which is "
            f"not installed for {sys.executable}. Install it by `pip install {error.name}`, or "
            "leave the variable out: the commands run on TensorFlow."
        )
    return _paragraph(
        f"error: `keras-rms {name}` needs the Python package `{error.name}`, which is not "
        f"installed for {sys.executable}. All that the commands need comes by "
        "`pip install 'keras_rms[commands]'`, or by `bash scripts/setup.sh` in a checkout."
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
