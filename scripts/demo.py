"""Makes a demonstration dataset, and trains on it without and with RMS.

    bash scripts/demo.sh                                    (sets everything up first)
    bash scripts/demo.sh --form=comparison --output=DIR     (more videos: a quarter of an hour)
    bash scripts/demo.sh --seed=1 --output=DIR              (other videos, other weights)
    keras-rms demo                                          (where it is set up)

Makes short videos of procedural actions, converts them, trains SlowOnly without and with Random
Mean Scaling, and evaluates both over 30 views of each validation video. Each step is a command of
this project and is printed before it runs, so that it can be repeated by hand. Steps that are done
are not done again: a run that was stopped continues.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pipelines.system import command_help, command_line, output_paths

command_help.section("What to run")
_OUTPUT = flags.DEFINE_string("output", "demo", "Write everything that is made into this folder.")
output_paths.names_folder(_OUTPUT)
_FORM = flags.DEFINE_enum(
    "form",
    "quick",
    ["quick", "comparison"],
    "Make this form of the dataset: quick takes minutes, comparison much longer.",
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Derive the videos and the trainings from this number.", lower_bound=0
)

COMMANDS = Path(__file__).resolve().parent  # Python runs this folder as keras-rms does
NETWORKS = {"SlowOnly-18": "none", "SlowOnly-18 + RMS": "mean"}
# On two cores of a processor with AVX2.
DURATIONS = {"quick": "about five minutes", "comparison": "about a quarter of an hour"}


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    output = Path(_OUTPUT.value)
    to_run = commands(output)
    print(
        f"In {len(to_run)} commands this makes short videos of procedural actions, converts them, "
        "trains SlowOnly-18\nwithout and with RMS, evaluates both and prints a table. On two cores "
        f"it takes {DURATIONS[_FORM.value]}, most\nof it in the two trainings. All goes into "
        f"{output}. Ctrl-C stops it; the same command continues."
    )
    for number, command in enumerate(to_run, 1):
        run(f"[{number}/{len(to_run)}]", command)
    print(f"\n{table(output)}\n\n{next_commands(output)}")


def commands(output: Path) -> list[list[str]]:
    """All commands of the job in their order, each as its name and its flags."""
    videos, data = output / "videos", output / "data"
    found = [_command("demo-videos", output=videos, form=_FORM.value, seed=_SEED.value)]
    for split in ("train", "validation"):
        found.append(
            _command(
                "convert",
                dataset="folder",
                videos=videos / split,
                split=split,
                validation_share=0,
                output=data,
                short_side=72,
            )
        )
    for rms in NETWORKS.values():
        work_dir = output / f"rms_{rms}"
        found.append(
            _command(
                "train",
                flagfile=f"demo_{_FORM.value}",
                data=data,
                work_dir=work_dir,
                rms=rms,
                seed=_SEED.value,
            )
        )
        for split, views in (("train", "1x1"), ("validation", "10x3")):
            found.append(_command("evaluate", work_dir=work_dir, split=split, views=views))
    return found


def _command(name: str, **options: object) -> list[str]:
    return [name, *(f"--{flag}={value}" for flag, value in options.items())]


def run(place: str, command: list[str]) -> None:
    """Prints a command and runs it; its failure ends this program with the same status."""
    print(f"\n{place} $ {shlex.join([installed('keras-rms'), *command])}", flush=True)
    # A process each, as when the printed command is repeated by hand.
    status = subprocess.run([sys.executable, str(COMMANDS), *command]).returncode
    if status:
        sys.exit(status)


def table(output: Path) -> str:
    """Markdown: each network's accuracy on what it was trained on and on new videos."""
    lines = [
        "| Network | Training videos, top-1 | Validation videos, top-1 (30 views) |",
        "|---|---|---|",
    ]
    for name, rms in NETWORKS.items():
        results = output / f"rms_{rms}" / "evaluation"
        train = json.loads((results / "train_1x1.json").read_text())
        validation = json.loads((results / "validation_10x3.json").read_text())
        lines.append(f"| {name} | {train['top1']:.1%} | {validation['top1']:.1%} |")
    # The classes are of one size.
    chance = 1 / len((output / "data" / "labels.txt").read_text().splitlines())
    lines.append(f"| (chance) | {chance:.1%} | {chance:.1%} |")
    return "\n".join(lines)


def next_commands(output: Path) -> str:
    """What to do now, as commands of a shell."""
    video = sorted((output / "videos" / "validation").rglob("*.mp4"))[0]
    predict = [installed("keras-rms"), "predict", f"--work_dir={output / 'rms_mean'}", video]
    curves = [installed("tensorboard"), f"--logdir={output}"]
    return "\n".join(
        (
            "Next, try a network on a video, or look at the curves of both:",
            f"  {shlex.join(map(str, predict))}",
            f"  {shlex.join(map(str, curves))}",
            "Then use your own videos: README.md has the commands.",
        )
    )


def installed(program: str) -> str:
    """How to call a program of this environment from the current folder."""
    path = Path(sys.executable).with_name(program)
    if shutil.which(program) == str(path):
        return program
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    command_line.run(main)
