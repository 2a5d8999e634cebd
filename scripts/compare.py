"""Compares networks video by video on the same split.

    keras-rms compare runs/plain runs/rms
    keras-rms compare a.npz b.npz c.npz --output=comparison

Each argument is the folder of a run that keras-rms evaluate has evaluated, or the .npz file of an
evaluation. The first is what the others are compared with. Prints for each its top-1, the
difference with its 95 % interval, McNemar's test, and what all reach together as an ensemble.

With --output it writes into that folder:
    table.md             what is printed
    changed_<name>.csv   the videos that one network gets right and the first does not, or reversed
    changed_<name>.png   frames of some of them

The interval and the test are over videos: they say what other videos of the same kind could give.
They say nothing of other seeds; a fair comparison of methods needs several trainings of each.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import numpy as np
from absl import flags

from analysis import film_strips, pictures
from analysis.run_names import distinct_names
from analysis.score_files import score_file, summary_of
from analysis.stored_frames import StoredFrames
from analysis.tables import csv_file
from keras_rms.inference import metrics
from keras_rms.inference.saved_scores import SavedScores, mean_of, read_scores
from pipelines.system import command_help, command_line, output_paths, whole_files
from pipelines.system.text import printable

command_help.section("What to compare")
_SPLIT = flags.DEFINE_string("split", "validation", "In a run's folder, compare on this split.")
_VIEWS = flags.DEFINE_string(
    "views", "10x3", "In a run's folder, compare on these views: clips x crops."
)

command_help.section("What to write")
_OUTPUT = flags.DEFINE_string("output", None, "Write the tables and pictures into this folder.")
output_paths.names_folder(_OUTPUT)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Take the pictures' frames from this converted dataset. By default from the one evaluated on.",
)
_PICTURES = flags.DEFINE_integer(
    "pictures", 12, "Show frames of at most this many videos.", lower_bound=0, upper_bound=200
)

# Of the lists of videos that changed, in the order of `changed_videos`.
COLUMNS = "key label change first second label_score_first label_score_second".split()


def main(arguments: Sequence[str]) -> None:
    places = arguments[1:]
    if len(places) < 2:
        raise ValueError(
            "Name two evaluations at least: keras-rms compare runs/plain runs/rms. "
            f"Received: {' '.join(places) or 'none'}"
        )
    files = [score_file(place, _SPLIT.value, _VIEWS.value) for place in places]
    first, *others = [read_scores(file) for file in files]
    names = distinct_names(places)
    tell_if_unequal(names, [summary_of(file) for file in files])
    # Differing videos and classes are an error here, before anything is written.
    others = [each.ordered_as(first) for each in others]
    text = table(names, [first, *others])
    print(text)
    if not _OUTPUT.value:
        return
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    whole_files.write(output / "table.md", text.encode("utf-8", "surrogateescape"))
    for name, each in zip(names[1:], others):
        rows = changed_videos(first, each)
        whole_files.write(
            output / f"changed_{name}.csv", csv_file(COLUMNS, (row.values() for row in rows))
        )
        draw_changed(output / f"changed_{name}.png", rows, summary_of(files[0]))
    print(f"\nWrote {output}.")


def tell_if_unequal(names: Sequence[str], summaries: Sequence[dict]) -> None:
    """Says in what the evaluations differ that is none of the networks' doing."""
    for setting in ("split", "views", "crop_size", "short_side"):
        values = {name: each[setting] for name, each in zip(names, summaries) if setting in each}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{value} for {name}" for name, value in values.items())
            words = f"These were not evaluated alike: {setting} is {listed}."
            print(command_line.paragraph(words), file=sys.stderr)


def table(names: Sequence[str], all_scores: Sequence[SavedScores]) -> str:
    """Markdown, a line a network, and one of the ensemble."""
    first = all_scores[0]
    lines = [
        "| Network | Top-1 | Mean class | Beside the first (95 % interval) | Only it right "
        "| Only the first right | McNemar's p |",
        "|---|---|---|---|---|---|---|",
        _line(names[0], first, ["-"] * 4),
    ]
    together = (f"all {len(names)} together", mean_of(all_scores))
    for name, scores in [*zip(names[1:], all_scores[1:]), together]:
        found = metrics.difference(first, scores)
        low, high = (100 * bound for bound in found.interval)
        cells = [
            f"{100 * found.difference:+.1f} ({low:+.1f} to {high:+.1f})",
            found.only_second,
            found.only_first,
            f"{found.p_value:.2g}",
        ]
        lines.append(_line(name, scores, cells))
    lines += ["", f"Per cent of {len(first.keys)} videos."]
    return "\n".join(lines)


def _line(name: str, scores: SavedScores, more: Sequence[object]) -> str:
    found = metrics.accuracies(scores)
    own = [name, f"{100 * found['top1']:.1f}", f"{100 * found['mean_class_accuracy']:.1f}"]
    return f"| {' | '.join(map(str, [*own, *more]))} |"


def changed_videos(first: SavedScores, second: SavedScores) -> list[dict]:
    """The videos that only one of both gets right: first the gained, then the lost ones."""
    rows = []
    for number, (key, label) in enumerate(zip(first.keys, first.labels)):
        answers = [int(each.predicted[number]) for each in (first, second)]
        right = [answer == label for answer in answers]
        if right[0] != right[1]:
            rows.append(
                {
                    "key": key,
                    "label": first.class_names[label],
                    "change": "gained" if right[1] else "lost",
                    "first": first.class_names[answers[0]],
                    "second": first.class_names[answers[1]],
                    "label_score_first": f"{first.scores[number, label]:.4f}",
                    "label_score_second": f"{second.scores[number, label]:.4f}",
                }
            )
    return sorted(rows, key=lambda row: row["change"])


def draw_changed(path: Path, rows: Sequence[dict], evaluated: dict) -> None:
    """Frames of some of the videos, of gained and lost ones alike."""
    data, split = _DATA.value or evaluated.get("data"), evaluated.get("split", _SPLIT.value)
    if not rows or not _PICTURES.value or data is None:
        return
    try:
        stored = StoredFrames(data, split, evaluated.get("format", "records"))
    except (ValueError, OSError) as error:  # the data may have moved; the tables do not need it
        print(command_line.paragraph(f"{path} is not drawn: {error}"), file=sys.stderr)
        return
    chosen = np.linspace(0, len(rows) - 1, min(_PICTURES.value, len(rows))).round().astype(int)
    strips = []
    for row in (rows[number] for number in chosen):
        frames = stored.read(row["key"])
        if frames is None:
            print(f"{printable(row['key'])} is not in {data} any more.", file=sys.stderr)
            continue
        answers = f"{row['label']}: {row['first']} → {row['second']}"
        strips.append((f"{row['change']}  {answers}  ({row['key']})", frames))
    if strips:
        pictures.save(film_strips.film_strips(strips), path)


if __name__ == "__main__":
    command_line.run(main)
