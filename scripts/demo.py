"""The main job on a demonstration dataset: make it, convert, train twice, evaluate, print a table.

    bash scripts/demo.sh            (sets everything up first)
    python scripts/demo.py          (where it is set up)

Makes short videos of procedural actions, converts them, trains SlowOnly without and with Random
Mean Scaling, and evaluates both over 30 views of each validation video. Each step is a command of
this project and is printed before it runs, so that it can be repeated by hand. Steps that are done
are not done again: a run that was stopped continues.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pipelines.system import command_help, command_line

command_help.section("What to run")
_OUTPUT = flags.DEFINE_string("output", "demo", "Write everything that is made into this folder.")
_FORM = flags.DEFINE_enum(
    "form",
    "quick",
    ["quick", "comparison"],
    "Make this form of the dataset: quick takes minutes, comparison much longer.",
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Derive the videos and the trainings from this number.", lower_bound=0
)

SCRIPTS = Path(__file__).resolve().parent
PIPELINES = SCRIPTS.parent / "pipelines"
NETWORKS = {"SlowOnly-18": "none", "SlowOnly-18 + RMS": "mean"}


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    output = Path(_OUTPUT.value)
    make_dataset(output)
    for rms in NETWORKS.values():
        train_and_evaluate(output, rms)
    print(f"\n{table(output)}\n\n{next_commands(output)}")


def make_dataset(output: Path) -> None:
    videos, data = output / "videos", output / "data"
    run(PIPELINES / "demo_videos.py", output=videos, form=_FORM.value, seed=_SEED.value)
    for split in ("train", "validation"):
        run(
            PIPELINES / "convert.py",
            dataset="folder",
            videos=videos / split,
            split=split,
            validation_share=0,
            output=data,
            short_side=72,
        )


def train_and_evaluate(output: Path, rms: str) -> None:
    work_dir = output / f"rms_{rms}"
    run(
        SCRIPTS / "train.py",
        flagfile=SCRIPTS / "recipes" / f"demo_{_FORM.value}.flags",
        data=output / "data",
        work_dir=work_dir,
        rms=rms,
        seed=_SEED.value,
    )
    for split, views in (("train", "1x1"), ("validation", "10x3")):
        run(SCRIPTS / "evaluate.py", work_dir=work_dir, split=split, views=views)


def run(script: Path, **options: object) -> None:
    """Prints a command and runs it; its failure ends this program with the same status."""
    command = [sys.executable, str(script), *(f"--{k}={v}" for k, v in options.items())]
    print(f"\n$ {shlex.join(['python', *command[1:]])}", flush=True)
    status = subprocess.run(command).returncode
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
    chance = 1 / len((output / "data" / "labels.txt").read_text().splitlines())
    lines.append(f"| (chance) | {chance:.1%} | {chance:.1%} |")
    return "\n".join(lines)


def next_commands(output: Path) -> str:
    video = sorted((output / "videos" / "validation").rglob("*.mp4"))[0]
    return (
        "Try the network on a video, or look at the curves:\n"
        f"  .venv/bin/python scripts/predict.py --work_dir={output}/rms_mean {video}\n"
        f"  .venv/bin/tensorboard --logdir={output}"
    )


if __name__ == "__main__":
    command_line.run(main)
