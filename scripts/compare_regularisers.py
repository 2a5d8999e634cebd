"""Compares regularisers on images or videos, with the same tuning effort.

    keras-rms compare-regularisers --output=DIR --seeds=3 \\
        --methods=plain,rms,rms_gaussian -- --data=cifar100.npz --num_classes=10 \\
        --images_per_class=50 --holdout_per_class=100 --depth=20 --batch_size=64 \\
        --learning_rate=0.05 --epochs=100

Each method has three settings to try. All are trained with seed 0; the one that is best on the
held-out training images is then trained with the other seeds. --settings=1 tries nothing: it takes
the paper's setting, and the learning rate given. What follows after -- goes to the script of
scripts/examples that --example names. DIR gets a JSON file a run and table.md. The same command
again continues: a run whose file is there is not repeated, and processes may share the folder.
--table_only trains nothing and prints the table of the runs that are there.

Videos have folds in place of held-out clips; seed 0 is tested on the first fold, and so on:

    keras-rms compare-regularisers --output=DIR --example=video_classification --folds=1,2,3 \\
        --settings=1 --seeds=6 --methods=plain,rms -- --data=folds.csv --width=8
"""

import csv
import fcntl
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from ablation.regularisers import METHODS
from ablation.result_tables import beside_first, summary
from pipelines.system import command_help, command_line, output_paths, whole_files


class Form(NamedTuple):
    """How numbers of a kind stand in the table."""

    factor: float
    decimals: int


PER_CENT, LOSS = Form(100, 1), Form(1, 2)

command_help.section("What to run")
_METHODS = flags.DEFINE_list("methods", list(METHODS), "Compare these methods only.")
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Run each method this number of times, with seeds 0, 1, ...", lower_bound=1
)
_SETTINGS = flags.DEFINE_integer(
    "settings",
    3,
    "Try this number of settings of each method; of 1 the first is taken.",
    lower_bound=1,
    upper_bound=3,
)
_EXAMPLE = flags.DEFINE_enum(
    "example",
    "image_classification",
    ["image_classification", "video_classification"],
    "Train with this script of scripts/examples.",
)
_FOLDS = flags.DEFINE_list(
    "folds", [], "Test in turn on the folds of these names, a seed on each, as in 1,2,3."
)

command_help.section("What to write")
_OUTPUT = flags.DEFINE_string("output", None, "Write all runs into this folder.", required=True)
output_paths.names_folder(_OUTPUT)
_TABLE = flags.DEFINE_bool("table_only", False, "Train nothing; print the table of what is there.")

DEFAULT_RATE = 0.1  # of the examples
# Flags of the examples that methods and seeds decide.
DECIDED = ("rms", "component", "spread", "seed", "output", "save_model")
FLAGS_FILE = "flags.json"
EXAMPLES = Path(__file__).parent / "examples"
NOTE = (
    "Per cent, and cross-entropy; ± is the 95 % interval of the mean over the seeds (Student's t). "
    "`Beside plain`: differences of runs with the same seed. `Tried`: accuracy with seed 0 on the "
    "training images that were held out, which decides."
)


def main(arguments: Sequence[str]) -> None:
    methods, more = _METHODS.value, arguments[1:]
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        raise ValueError(
            f"--methods must be among {', '.join(METHODS)}. Received: {', '.join(unknown)}"
        )
    if not _TABLE.value:
        _check_flags(more)
        _check_folds(more)
        _claim([*more, *([f"--folds={','.join(_FOLDS.value)}"] if _FOLDS.value else [])])
        # In turns: a grid that is stopped has tried equally many settings of each method.
        numbers = range(_SETTINGS.value)
        run_all([(m, settings_of(m)[n], 0) for n in numbers for m in methods], more)
        # A method whose settings all diverged has none; the table says so.
        chosen = [(method, best(method)) for method in methods if best(method) is not None]
        # Only now: the choice is among all settings, those that another process tried too.
        run_all([(*each, seed) for seed in range(1, _SEEDS.value) for each in chosen], more)
    if not any(map(_tests, METHODS)):
        diverged = " ".join(_warnings())
        raise ValueError(
            f"{_OUTPUT.value} holds no run to show. "
            f"{diverged or 'If nothing was held out, give --settings=1.'}"
        )
    print(write_table())


def path_of(method: str, setting: float, seed: int) -> Path:
    """The run's result."""
    return Path(_OUTPUT.value) / f"{method}-{setting:g}-seed_{seed}.json"


def run_all(runs: Sequence[tuple[str, float, int]], more: Sequence[str]) -> None:
    """Trains each method with each setting and seed; waits for those another process is at.

    Raises:
        ValueError: If a training fails.
    """
    elsewhere = [each for each in runs if not run(*each, more, wait=False)]
    for method, setting, seed in elsewhere:
        name = path_of(method, setting, seed).stem
        print(f"Another process is at {name}: waiting for it.", flush=True)
        run(method, setting, seed, more, wait=True)


def run(method: str, setting: float, seed: int, more: Sequence[str], wait: bool) -> bool:
    """Trains unless that is done; returns whether it is, for another process may be at it."""
    result = path_of(method, setting, seed)
    with open(result.with_suffix(".log"), "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # Another process trains it, or has taken it; this one goes on to the next.
        except BlockingIOError:
            return False
        if result.exists():
            return True
        command = [sys.executable, str(EXAMPLES / f"{_EXAMPLE.value}.py")]
        command += [*more, *METHODS[method].flags.format(setting).split()]
        command += [f"--seed={seed}", f"--output={result}"]
        if _FOLDS.value:
            command.append(f"--fold={_FOLDS.value[seed % len(_FOLDS.value)]}")
        command += [f"--save_model={result.with_suffix('.keras')}"]
        before = log.seek(0, 2)
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if status and not _has_diverged(method, setting, seed):
        lines = Path(log.name).read_bytes()[before:].decode(errors="replace").splitlines()
        # absl's own errors are followed by advice.
        said = [line for line in lines if line.startswith(("error:", "FATAL"))][-1:] or lines[-1:]
        raise ValueError(f"A training ended with status {status}. See {log.name}: {' '.join(said)}")
    write_table()
    return True


def _parsed(words: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """What is given to the flags of these names, as absl reads it."""
    values = flags.FlagValues()
    values.set_gnu_getopt()
    for name in names:
        flags.DEFINE_multi_string(name, [], "", flag_values=values)
    try:
        values(["", *words], known_only=True)
    except flags.Error as error:
        raise ValueError(f"{error} (after --)") from error
    return {name: values[name].value for name in names}


def _check_flags(more: Sequence[str]) -> None:
    """Refuses flags that methods and seeds decide, and a choice that cannot be made.

    Raises:
        ValueError: If there are such flags.
    """
    holdout = _parsed(more, ["holdout_per_class"])["holdout_per_class"]
    if _SETTINGS.value > 1 and holdout[-1:] in ([], ["0"]):
        raise ValueError(
            "Settings are chosen on held-out examples, and the trainings would have none. Give "
            "--holdout_per_class=50 after --, or --settings=1 to choose none, as for videos."
        )
    names = [*DECIDED, *(["fold"] if _FOLDS.value else [])]
    for name, given in _parsed(more, names).items():
        if given:
            raise ValueError(
                f"--{name} must not be given after --: --methods, --seeds, --folds and --output "
                f"decide it. Received: --{name}={given[-1]}"
            )


def _check_folds(more: Sequence[str]) -> None:
    """Raises ValueError if the list of videos has no such fold: its turn may come after hours."""
    data = _parsed(more, ["data"])["data"][-1:]
    if not _FOLDS.value or not data:
        return
    if not data[0].endswith(".csv"):
        raise ValueError(f"--folds are of a list of videos, .csv. Received: --data={data[0]}")
    with open(data[0], newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        try:
            rows = list(csv.DictReader(file, skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(f"{data[0]} is no list of commas and lines: {error}") from error
    known = sorted({(row.get("fold") or "").strip() for row in rows})
    if not set(_FOLDS.value) <= set(known):
        raise ValueError(
            f"--folds must be among those of {data[0]}, {', '.join(known)}. "
            f"Received: {', '.join(_FOLDS.value)}"
        )


def _claim(own_flags: Sequence[str]) -> None:
    """Notes the flags in the folder.

    Raises:
        ValueError: If the folder holds results of other flags, or they are being made.
    """
    path = Path(_OUTPUT.value) / FLAGS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process may begin now
        file.seek(0)
        text = file.read()
        if text and json.loads(text) == list(own_flags):
            return
        if text and _is_used(path.parent):
            raise ValueError(
                f"{path.parent} holds runs with other flags, see {path}. Give another."
            )
        file.truncate(0)  # what failed at its first training leaves flags and no run
        file.write(json.dumps(list(own_flags)))


def _is_used(folder: Path) -> bool:
    """Whether a run is done, or a process is at one."""
    if any(folder.glob("*-seed_*.json")):
        return True
    for path in folder.glob("*.log"):
        with open(path) as log:
            try:
                fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def settings_of(method: str) -> list[float]:
    """Those that are tried."""
    settings = METHODS[method].settings[: _SETTINGS.value]
    rate = _learning_rate() if method == "plain" else 1
    return [rate * setting for setting in settings]


def _learning_rate() -> float:
    """Of the runs in the folder."""
    path = Path(_OUTPUT.value) / FLAGS_FILE
    words = json.loads(path.read_text()) if path.exists() else []
    given = _parsed(words, ["learning_rate"])["learning_rate"]
    try:
        return float(given[-1]) if given else DEFAULT_RATE
    except ValueError:
        raise ValueError(f"--learning_rate must be a number. Received: {given[-1]}") from None


def measured(
    method: str, setting: float, seed: int, on: str, what: str = "accuracy"
) -> float | None:
    """Of a run at its end, accuracy as a share of 1, or its loss.

    None if the run is not done, or had no such images.
    """
    return _result(method, setting, seed).get(on, {}).get(what)


def _result(method: str, setting: float, seed: int) -> dict:
    """What the run wrote; nothing if it is not done."""
    path = path_of(method, setting, seed)
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}. Remove it to train anew.") from error


def _has_diverged(method: str, setting: float, seed: int) -> bool:
    """Whether its loss ended as no number: such a run is done, and has no accuracy."""
    return _result(method, setting, seed).get("diverged", False)


def best(method: str) -> float | None:
    """The setting with the highest accuracy on the held-out images, of those that are done."""
    settings = settings_of(method)
    if len(settings) == 1:
        return settings[0]
    tried = {setting: measured(method, setting, 0, "holdout") for setting in settings}
    done = {setting: value for setting, value in tried.items() if value is not None}
    return max(done, key=done.get) if done else None


def write_table() -> str:
    """Writes table.md and returns it."""
    head = ["Method", "Setting", "Tried", "Runs", "Test", "Beside plain", "Training, last epoch"]
    head += ["Test loss", "Beside plain"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    plain, plain_losses = _tests("plain"), _tests("plain", "loss")
    for method, (title, *_) in METHODS.items():
        tests, losses = _tests(method), _tests(method, "loss")
        if not tests:
            continue
        tried = [(s, measured(method, s, 0, "holdout")) for s in settings_of(method)]
        cells = [
            title,
            f"{best(method):g}",
            ", ".join(f"{s:g}: {100 * v:.1f}" for s, v in tried if v is not None) or "-",
            str(len(tests)),
            _cell(list(tests.values())),
            "-" if method == "plain" else _cell(_differences(tests, plain), "+"),
            _cell([_last_training(method, seed) for seed in tests]),
            _cell(list(losses.values()), form=LOSS),
            "-" if method == "plain" else _cell(_differences(losses, plain_losses), "+", LOSS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join([*lines, "", NOTE, *_with_one_scatter(), *_warnings()])
    whole_files.write(Path(_OUTPUT.value) / "table.md", f"{text}\n".encode())
    return text


def _warnings() -> list[str]:
    """Of runs that are in no mean, and of runs that are no pairs."""
    runs = [(method, setting, 0) for method in METHODS for setting in settings_of(method)]
    runs += [(m, best(m), n) for m in METHODS for n in range(1, _SEEDS.value) if best(m)]
    diverged = [path_of(*run).stem for run in runs if _has_diverged(*run)]
    warnings = [f"Diverged, and in no mean: {', '.join(diverged)}."] if diverged else []
    backends = sorted({_result(*run).get("backend", "") for run in runs} - {""})
    if len(backends) > 1:
        warnings.append(f"These are not pairs: they ran on {' and '.join(backends)}.")
    return warnings


def _with_one_scatter() -> list[str]:
    """The differences from plain with an interval from all methods together, if it is known."""
    tests = {method: _tests(method) for method in METHODS}
    tests = {method: values for method, values in tests.items() if len(values) > 1}
    seeds = sorted(set.intersection(*map(set, tests.values()))) if tests else []
    if len(tests) < 3 or len(seeds) < 2 or "plain" not in tests:
        return []
    means, interval = beside_first([[values[seed] for seed in seeds] for values in tests.values()])
    listed = [f"{METHODS[m].title} {100 * d:+.1f}" for m, d in zip(tests, means) if m != "plain"]
    return [
        f"Over the {len(seeds)} seeds that all of these have, with one scatter for all methods: "
        f"{', '.join(listed)}, each ± {100 * interval:.1f} beside plain."
    ]


def _differences(values: dict[int, float], plain: dict[int, float]) -> list[float]:
    """Of the runs with the same seed."""
    return [values[seed] - plain[seed] for seed in values if seed in plain]


def _tests(method: str, what: str = "accuracy") -> dict[int, float]:
    """Seed -> accuracy, or loss, on the test images, with the chosen setting."""
    setting = best(method)
    if setting is None:
        return {}
    values = {seed: measured(method, setting, seed, "test", what) for seed in range(_SEEDS.value)}
    return {seed: value for seed, value in values.items() if value is not None}


def _last_training(method: str, seed: int) -> float:
    return _result(method, best(method), seed)["history"]["accuracy"][-1]


def _cell(values: list[float], sign: str = "", form: Form = PER_CENT) -> str:
    if not values:
        return "-"
    found = summary(values)
    mean = f"{form.factor * found['mean']:{sign}.{form.decimals}f}"
    if found["interval"] is None:
        return mean
    return f"{mean} ± {form.factor * found['interval']:.{form.decimals}f}"


if __name__ == "__main__":
    command_line.run(main)
