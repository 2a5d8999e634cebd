"""Repeats one of the paper's tables, and prints it with our numbers.

    keras-rms ablate --table=1c --data=DIR --output=DIR --seeds=3 \\
        --recipe=mini_kinetics_slow_only_34

Trains and evaluates each method of the table once for each seed, one after the other, with
keras-rms train and keras-rms evaluate. DIR of --output gets a folder a run under runs/, and
table_1c.md and table_1c.json, which are renewed after every run. Run the same command again to
continue after a kill: what is done is not done again, a training that outlived the kill is waited
for, and tables share the runs that they have in common. Several grids may share DIR: a run that
another one is at is left for the end. A run that fails is named and does not stop the others; the
exit status is then 1.

On the demonstration dataset in its comparison form, with a small network, hours on two cores:

    keras-rms ablate --table=comparison --data=DIR --output=DIR --seeds=5 \\
        --recipe=demo_comparison --model=slow_only_18

Tables 3 to 6 bring the recipe of each line. Table 3 is of Mini-Kinetics, 4 of Kinetics-400, 5 of
Something-Something-v2. Table 5 begins with the networks of table 4: run that first, and name its
--output. Table 6 is of images, and takes the folder that holds the folders cifar100 and imagenet,
or one of them:

    keras-rms ablate --table=4 --data=kinetics400 --output=table_4 --seeds=1
    keras-rms ablate --table=5 --data=something --output=table_5 --seeds=1 --kinetics_runs=table_4
    keras-rms ablate --table=6 --data=images --output=table_6

Flags of keras-rms train for all runs follow after --, as in: ... -- --epochs=10 --width=16
Table 5 needs the seeds of table 4, and its flags of the network. The recipe names classes that are
each other's mirror image; on other data than Something-Something give --flip_classes= for none:

    keras-rms ablate --table=4 --lines=6,7 --data=DIR --output=table_4 --seeds=1 -- --width=8
    keras-rms ablate --table=5 --data=DIR --output=table_5 --seeds=1 --kinetics_runs=table_4 \\
        -- --width=8 --flip_classes=
"""

import collections
import contextlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
from absl import flags

import recipes
from ablation import paper_tables, result_tables, run_results
from keras_rms.training.work_dir.lock import InUseError, lock, lock_file
from keras_rms.training.work_dir.work_folder import WorkFolder
from pipelines.system import command_help, command_line, filesystems, output_paths

command_help.section("What to run")
_TABLE = flags.DEFINE_enum(
    "table",
    None,
    list(paper_tables.TABLES),
    "Run this table of the paper. comparison is the plain network, RMS, RMS-GF, RS on r and x, and "
    "the rivals; strengths is each regulariser at 0.3 and 0.6 of its strength, and the plain "
    "network at learning rates of 0.05 and 0.2.",
    required=True,
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Run each method this number of times, with seeds 0, 1, ...", lower_bound=1
)
_MODEL = flags.DEFINE_string("model", None, "Train this network in the place of the paper's.")
_LINES = flags.DEFINE_list(
    "lines",
    [],
    "Run only these lines of the table, numbered from 1, to share them between machines.",
)
_VIEWS = flags.DEFINE_string(
    "views",
    None,
    "Evaluate over these views, clips x crops. By default 10x3, and 1x1 of --table=6.",
)

command_help.section("Files")
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Train on the converted dataset in this folder. --table=6 takes a folder that holds the "
    "folders cifar100 and imagenet, or one of them.",
    required=True,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Write everything that is made into this folder.", required=True
)
output_paths.names_folder(_OUTPUT)
_RECIPE = flags.DEFINE_string(
    "recipe",
    None,
    "Train all runs with the flags of this recipe or file. By default of tables 3 to 6 with the "
    "recipe of each line.",
)
_KINETICS_RUNS = flags.DEFINE_string(
    "kinetics_runs",
    None,
    "Begin the lines of --table=5 with the networks in this folder, the --output of --table=4 with "
    "the same --model and at least as many --seeds; lines 6 and 7 of it are enough.",
)

COMMANDS = Path(__file__).resolve().parent  # Python runs this folder as keras-rms does
_COMMAND_FILE = "command.json"
_OUTPUT_FILE = "output.txt"
_LOCK_FILE = ".grid.lock"
_POLL_SECONDS = 1.0


def main(arguments: Sequence[str]) -> int:
    rows = paper_tables.rows(_TABLE.value, _MODEL.value)
    chosen = _with_data(_chosen(rows))
    _check_flags_of_train(chosen, arguments[1:])
    # A grid that is stopped shall stop its training, which then saves.
    signal.signal(signal.SIGTERM, _terminated)
    failures = []
    grid = [(row, seed) for seed in range(_SEEDS.value) for row in chosen]
    jobs = collections.deque(enumerate(grid, 1))
    elsewhere: set[int] = set()
    while jobs:
        number, (row, seed) = jobs.popleft()
        title = f"[{number}/{len(grid)}] {_network(row)} {shlex.join(_flags(row))} seed {seed}"
        folder = _folder(row, seed)
        started = time.monotonic()
        try:
            was_done = run_results.is_done(folder, _views())
            with _sole_grid(folder):
                _train_and_evaluate(folder, row, seed, arguments[1:])
            result = run_results.result(folder, _views())
        except InUseError as reason:
            if number not in elsewhere:
                print(f"{title}: left for the end. {reason}", flush=True)
            elsewhere.add(number)
            jobs.append((number, (row, seed)))
            if elsewhere >= {number for number, _ in jobs}:
                time.sleep(_POLL_SECONDS)
            continue
        except (RunError, OSError, ValueError) as failure:  # the last of a damaged file of the run
            failures.append(f"{folder}: {failure}")
            print(f"{title}: FAILED. {failure}", flush=True)
            continue
        spent = "done before" if was_done else f"{time.monotonic() - started:.0f} s"
        print(
            f"{title}: top-1 {result['top1']:.1%}, training {result['train_top1']:.1%} ({spent})",
            flush=True,
        )
        _write_table(rows)
    print(f"\n{_write_table(rows)}")
    for failure in failures:
        print(command_line.paragraph(f"failed: {failure}"), file=sys.stderr)
    return command_line.FAILURE if failures else 0


class RunError(Exception):
    """A run that did not come to its end; the message says why."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which unlike Ctrl-C goes to this process alone."""


def _terminated(number: int, frame: object) -> None:
    raise _Terminated


def _existing(path: str) -> Path:
    if not Path(path).exists():
        raise ValueError(f"{path} does not exist.")
    return Path(path).resolve()


def _chosen(rows: Sequence[paper_tables.Row]) -> list[paper_tables.Row]:
    numbers = _LINES.value or range(1, len(rows) + 1)
    if not all(str(number) in map(str, range(1, len(rows) + 1)) for number in numbers):
        raise ValueError(
            f"--lines are numbers from 1 to {len(rows)}, the lines of the table. "
            f"Received: --lines={','.join(numbers)}"
        )
    return [rows[int(number) - 1] for number in numbers]


def _with_data(rows: Sequence[paper_tables.Row]) -> list[paper_tables.Row]:
    """The lines whose dataset is there; of most tables, all."""
    folder = _existing(_DATA.value)
    present = [row for row in rows if not row.dataset or (folder / row.dataset).is_dir()]
    if not present:
        names = " or ".join(dict.fromkeys(row.dataset for row in rows))
        raise ValueError(
            f"Table {_TABLE.value} is of several datasets: --data is the folder of their folders, "
            f"and {folder} has no {names}. Convert one of them into it."
        )
    return present


def _check_flags_of_train(rows: Sequence[paper_tables.Row], more: Sequence[str]) -> None:
    """Refuses what no table can be made of, before anything is trained."""
    words = [word.lstrip("-").partition("=") for word in more if word.startswith("-")]
    given = {name.replace("-", "_"): (equals, value) for name, equals, value in words}
    if given.get("validation_split") == ("=", ""):
        raise ValueError(
            "A table is of accuracies on the validation split: leave out --validation_split=, or "
            "name a split by it."
        )
    if _KINETICS_RUNS.value and "init_from" in given:
        raise ValueError(
            "--kinetics_runs and the --init_from after -- both say what to begin with: leave out "
            "one of them."
        )
    # Nor train from scratch what the paper has fine-tuned.
    if any(row.fine_tuned for row in rows) and not (_KINETICS_RUNS.value or "init_from" in given):
        raise ValueError(
            f"Table {_TABLE.value} begins with weights of Kinetics-400. Name the --output of "
            "--table=4 by --kinetics_runs, or give --init_from=FILE after --."
        )


def _recipe(row: paper_tables.Row) -> Path | None:
    name = _RECIPE.value or row.recipe
    return recipes.find(name).resolve() if name else None


def _views() -> str:
    return _VIEWS.value or ("1x1" if _TABLE.value == "6" else "10x3")


def _network(row: paper_tables.Row) -> str:
    return _MODEL.value or row.model


def _flags(row: paper_tables.Row) -> list[str]:
    return [f"--{name}={value}" for name, value in sorted(row.flags.items())]


def _folder(row: paper_tables.Row, seed: int, output: str | None = None) -> Path:
    """Named after the flags, so that a run is found again by every table that has it."""
    method = "-".join(flag[2:] for flag in _flags(row))
    runs = Path(output or _OUTPUT.value) / "runs" / row.dataset
    return runs / _network(row) / method / f"seed_{seed}"


@contextlib.contextmanager
def _sole_grid(folder: Path) -> Iterator[None]:
    """Holds the folder of a run, so that no other grid trains or evaluates there meanwhile.

    Raises:
        InUseError: If another grid does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / _LOCK_FILE, f"Another grid is at {folder}", "It is waited for."):
        yield


def _train_and_evaluate(
    folder: Path, row: paper_tables.Row, seed: int, more: Sequence[str]
) -> None:
    recipe = _recipe(row)
    # Absolute, because a grid may be continued from another folder.
    own_flags = [f"--data={_existing(_DATA.value) / row.dataset}", *more]
    own_flags += [f"--model={_network(row)}", *_flags(row), f"--seed={seed}"]
    if row.fine_tuned and _KINETICS_RUNS.value:
        own_flags.append(f"--init_from={_kinetics_run(row, seed)}")
    train_flags = [*([f"--flagfile={recipe}"] if recipe else []), *own_flags]
    if not WorkFolder(folder).finished:
        _wait_until_free(folder)
    # The recipe may lie elsewhere the next time: its content counts.
    _claim(folder, own_flags, recipe.read_text() if recipe else "")
    if not WorkFolder(folder).finished:
        _run(folder, "train", *train_flags, f"--work_dir={folder}")
    for split, views, scores in run_results.evaluations(folder, _views()):
        if not scores.exists():
            _run(
                folder,
                "evaluate",
                f"--work_dir={folder}",
                f"--split={split}",
                f"--views={views}",
            )


def _kinetics_run(row: paper_tables.Row, seed: int) -> Path:
    """The finished run of the same network and method on Kinetics-400."""
    folder = _folder(row, seed, _KINETICS_RUNS.value)
    if not WorkFolder(folder).finished:
        raise RunError(
            f"{folder} has no finished training to begin with. Run --table=4 --output="
            f"{_KINETICS_RUNS.value} --seeds={_SEEDS.value} first, with the same flags after --."
        )
    return folder.resolve()


def _claim(folder: Path, own_flags: list[str], recipe: str) -> None:
    """Refuses a folder whose run was made with other flags, or with another recipe."""
    command = {"flags": own_flags, "recipe": recipe}
    path = folder / _COMMAND_FILE
    if path.exists() and json.loads(path.read_text()) == command:
        return
    if path.exists() and WorkFolder(folder).begun:
        raise RunError(
            f"It was made with other flags, see {path}. Give another --output, or delete the "
            "folder to run it anew."
        )
    _write(path, json.dumps(command, indent=1))


def _wait_until_free(folder: Path) -> None:
    """Waits for a training of this folder that outlived its grid."""
    told = False
    while True:
        try:
            lock(folder).close()
        except InUseError as reason:
            if not told:
                print(f"Waiting. {reason}", flush=True)
            told = True
            time.sleep(_POLL_SECONDS)
        else:
            return


def _run(folder: Path, command: str, *words: str) -> None:
    with open(folder / _OUTPUT_FILE, "a") as file:
        print(f"\n$ {shlex.join(['keras-rms', command, *words])}", file=file, flush=True)
        process = subprocess.Popen(
            [sys.executable, str(COMMANDS), command, *words],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            status = process.wait()
        except _Terminated:
            process.terminate()
            process.wait()
            raise
        except KeyboardInterrupt:
            process.wait()  # It got the Ctrl-C as well, and saves.
            raise
    if status:
        raise RunError(f"keras-rms {command} ended with status {status}. {_last_words(folder)}")


def _last_words(folder: Path) -> str:
    """The error that a command printed last."""
    path = folder / _OUTPUT_FILE
    text = path.read_text(errors="replace").rstrip().rpartition("\nerror:")
    said = " ".join(text[2].split()) if text[1] else ""
    return said if 0 < len(said) < 2000 else f"See {path}."


def _results(row: paper_tables.Row) -> list[dict[str, float]]:
    folders = [_folder(row, seed) for seed in range(_SEEDS.value)]
    results = []
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # it is named as a failure
            if run_results.is_done(folder, _views()):
                results.append(run_results.result(folder, _views()))
    return results


def _write_table(rows: Sequence[paper_tables.Row]) -> str:
    """Writes the table of the runs that are done, and returns it in Markdown."""
    results = [_results(row) for row in rows]
    plain = {(row.model, row.dataset): runs for row, runs in zip(rows, results) if not row.method}
    lines = []
    for row, runs in zip(rows, results):
        beside = plain.get((row.model, row.dataset), []) if row.method else []
        lines.append(result_tables.line(row, _network(row), runs, beside))
    text = result_tables.markdown(lines, _views())
    stem = Path(_OUTPUT.value) / f"table_{_TABLE.value}"
    _write(stem.with_suffix(".md"), text + "\n")
    _write(stem.with_suffix(".json"), json.dumps(lines, indent=1) + "\n")
    return text


def _write(path: Path, text: str) -> None:
    """The file is there as a whole or not at all, also where several grids share the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filesystems.write_file(str(path), text.encode())


if __name__ == "__main__":
    command_line.run(main)
