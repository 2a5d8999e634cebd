"""Writes a page about a run, or about several side by side.

    keras-rms report --work_dir=runs/rms --output=report.html
    keras-rms report --work_dir=runs/plain,runs/rms --output=report.html

The page is one HTML file that opens without a network. It has the settings in which the runs
differ, curves, the results of keras-rms evaluate, confusions, and the clips of the best and worst
videos as small animations, as far as these exist: a run may still be going on. Evaluate first
(keras-rms evaluate --work_dir=...), for results are not computed here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import numpy as np
from absl import flags

from analysis import evaluation_pictures, training_curves
from analysis.stored_frames import StoredFrames
from keras_rms.inference import metrics
from pipelines.system import command_help, command_line, output_paths, whole_files
from report_page import clips, html
from report_page.runs import Evaluated, ReportedRun, differing, read_runs

command_help.section("What to report")
_WORK_DIRS = flags.DEFINE_list(
    "work_dir", None, "Report the runs in these folders, with commas between.", required=True
)
_CLIPS = flags.DEFINE_integer(
    "clips", 6, "Show this many of the best and of the worst videos of each run.", lower_bound=0
)

command_help.section("What to write")
_OUTPUT = flags.DEFINE_string("output", "report.html", "Write the page into this file.")
output_paths.names_file(_OUTPUT)
_TITLE = flags.DEFINE_string("title", "Training report", "Call the page so.")

# Of a run's settings, what is no choice about the training: shown under `environment`.
_ENVIRONMENT = (
    "backend",
    "versions",
    "git_commit",
    "onednn",
    "num_replicas",
    "num_workers",
    "precision",
)
_NOT_SETTINGS = {*_ENVIRONMENT, "class_names", "work_dir", "earlier", "task"}
_MOST_CLASSES = 400


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    runs = read_runs(_WORK_DIRS.value)
    content = html.page(_TITLE.value, parts(runs))
    Path(_OUTPUT.value).absolute().parent.mkdir(parents=True, exist_ok=True)
    whole_files.write(_OUTPUT.value, content.encode())
    print(f"Wrote {_OUTPUT.value} ({len(content) / 1e6:.1f} MB).")


def parts(runs: list[ReportedRun]) -> Iterator[str]:
    """The page's sections in their order."""
    yield html.paragraph("; ".join(map(_state, runs)))
    yield html.section("Results", _results(runs))
    rows = [row for run in runs for row in run.curve]
    if rows:
        yield html.section(
            "Curves",
            html.picture(training_curves.picture(rows), "Accuracy by epoch"),
            html.paragraph(
                "Dotted: training, with augmentation and noise. Solid: validation. The gap is of "
                "the last epoch that was validated."
            ),
        )
    yield html.section("Settings", *_settings(runs))
    for run in runs:
        if run.evaluations:
            yield _evaluation_section(run, main_evaluation(run))
    yield html.section("Environment", _environment(runs))


def _state(run: ReportedRun) -> str:
    epochs = run.curve[-1]["epoch"] if run.curve else 0
    done = "finished" if run.finished else "not finished"
    return f"{run.name}: {run.settings['model']}, {done} after {epochs} epochs"


def _results(runs: list[ReportedRun]) -> str:
    rows = []
    for run in runs:
        for each in run.evaluations.values():
            low, high = each.found["top1_interval"]
            rows.append(
                [
                    run.name,
                    each.name,
                    f"{each.found['top1']:.1%}",
                    f"{low:.1%} to {high:.1%}",
                    # Of five classes or fewer all are among the best five.
                    f"{each.found['top5']:.1%}" if len(each.saved.class_names) > 5 else "-",
                    f"{each.found['mean_class_accuracy']:.1%}",
                    f"{each.found['calibration_error']:.1%}",
                    len(each.saved.keys),
                ]
            )
    if not rows:
        return html.paragraph("Nothing was evaluated yet: keras-rms evaluate --work_dir=...")
    # What matters first: a narrow screen shows the first three columns.
    head = [
        "Run",
        "Evaluation",
        "Top-1",
        "95 % interval",
        "Top-5",
        "Mean class accuracy",
        "Calibration error",
        "Videos",
    ]
    note = "The interval is over videos: it says nothing of other seeds."
    return html.table(head, rows) + html.paragraph(note)


def _settings(runs: list[ReportedRun]) -> Iterator[str]:
    known = {name for run in runs for name in run.settings}
    names = sorted(known - _NOT_SETTINGS)
    head = ["Setting", *(run.name for run in runs)]
    if len(runs) > 1:
        unequal = differing(runs, names)
        if unequal:
            yield html.table(head, [_setting(runs, name) for name in unequal])
        yield html.paragraph(
            "All other settings are the same." if unequal else "All settings are the same."
        )
    yield html.folded("All settings", html.table(head, [_setting(runs, n) for n in names]))


def _setting(runs: list[ReportedRun], name: str) -> list[object]:
    return [name, *(_plain(run.settings.get(name)) for run in runs)]


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def _environment(runs: list[ReportedRun]) -> str:
    rows = [_setting(runs, name) for name in _ENVIRONMENT]
    rates = [f"{run.rate:.0f}" if run.rate else "-" for run in runs]
    rows.append(["clips a second in training", *rates])
    return html.table(["", *(run.name for run in runs)], rows)


def main_evaluation(run: ReportedRun) -> Evaluated:
    """The one that is shown in pictures: of the validation split, with the most views.

    One of the finished network comes before those of its checkpoints.
    """

    def rank(each: Evaluated) -> tuple[bool, bool, int]:
        clips_, _, crops = str(each.measured_on.get("views", "1x1")).partition("x")
        split = each.measured_on.get("split")
        wanted = split == run.settings.get("validation_split")
        return wanted, "/" not in each.name, int(clips_) * int(crops or 1)

    return max(run.evaluations.values(), key=rank)


def _evaluation_section(run: ReportedRun, each: Evaluated) -> str:
    saved = each.saved
    title = f"{run.name}, {each.name}"
    confusion = evaluation_pictures.confusion_picture(
        metrics.confusion(saved), saved.class_names, title
    )
    reliability = evaluation_pictures.reliability_picture(metrics.calibration(saved), title)
    return html.section(
        title,
        '<div class="row">',
        html.picture(confusion, f"Confusion matrix of {title}"),
        html.picture(reliability, f"Reliability diagram of {title}"),
        "</div>",
        _pairs(each),
        _classes(each),
        *_animations(run, each),
    )


def _pairs(each: Evaluated) -> str:
    pairs = metrics.confused_pairs(each.saved)
    rows = [
        [*pair["classes"], pair["first_for_second"], pair["second_for_first"]] for pair in pairs
    ]
    head = ["Class", "Class", "First taken for second", "Second taken for first"]
    return html.folded("Most confused pairs", html.table(head, rows))


def _classes(each: Evaluated) -> str:
    lines = metrics.by_class(each.saved)
    cut = f", the first {_MOST_CLASSES} of {len(lines)}" if len(lines) > _MOST_CLASSES else ""
    rows = [
        [
            line["class"],
            line["videos"],
            *(
                "-" if line[name] is None else f"{line[name]:.1%}"
                for name in ("accuracy", "precision", "f1")
            ),
            f"{line['most_taken_for']} ({line['times']})" if line["times"] else "-",
        ]
        for line in lines[:_MOST_CLASSES]
    ]
    head = ["Class", "Videos", "Accuracy", "Precision", "F1", "Most taken for"]
    return html.folded(f"By class{cut}", html.table(head, rows))


def _animations(run: ReportedRun, each: Evaluated) -> Iterator[str]:
    """The videos whose label got the highest and the lowest probability."""
    if not _CLIPS.value:
        return
    data, split = each.measured_on.get("data"), each.measured_on.get("split")
    data_format = each.measured_on.get("format") or run.settings.get("format", "records")
    try:
        stored = StoredFrames(str(data), str(split), data_format)
    except (ValueError, OSError) as error:
        yield html.paragraph(f"No clips are shown: the data cannot be read. {error}")
        return
    saved = each.saved
    of_label = saved.scores[np.arange(len(saved.keys)), saved.labels]
    order = np.argsort(-of_label, kind="stable")
    gone = 0
    for title, chosen in (
        ("Surest of the label", order[: _CLIPS.value]),
        ("Least sure of the label", order[::-1][: _CLIPS.value]),
    ):
        shown = []
        for number in chosen:
            frames = stored.read(saved.keys[number])
            if frames is None:
                gone += 1
                continue
            shown.append(html.animation(clips.animated(frames), _says(each, number)))
        yield html.paragraph(title) + f'<div class="clips">{"".join(shown)}</div>'
    if gone:
        yield html.paragraph(f"{gone} videos are not shown: the data does not hold them any more.")


def _says(each: Evaluated, number: int) -> str:
    saved = each.saved
    label, answer = saved.labels[number], saved.predicted[number]
    words = f"{saved.class_names[label]} {saved.scores[number, label]:.0%}"
    if answer != label:
        words += f", taken for {saved.class_names[answer]} {saved.scores[number, answer]:.0%}"
    return f"{words} ({saved.keys[number]})"


if __name__ == "__main__":
    command_line.run(main)
