"""Prints what a network sees in videos or images, or saves its features.

    keras-rms predict --work_dir=runs/rms VIDEO...
    keras-rms predict --work_dir=runs/rms --features=features.npz VIDEO...

Each file is resampled, scaled and compressed as the training videos were, and its views are those
of keras-rms evaluate: the scores of a file equal those of its record in a converted dataset.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import numpy as np
from absl import flags

from keras_rms.inference.finished_run import load_finished_run
from keras_rms.inference.view_scores import compiled, view_outputs
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.video_file import VideoError
from pipelines.input import views_of_frames
from pipelines.system import command_help, command_line, gpus, progress
from pipelines.system.text import printable

command_help.section("How to predict")
_WORK_DIR = flags.DEFINE_string(
    "work_dir", None, "Use the network of the finished training in this folder.", required=True
)
_CLIPS = flags.DEFINE_integer(
    "clips",
    None,
    "Take this many clips, evenly over the video. By default 10, and 1 of images.",
    lower_bound=1,
)
_CROPS = flags.DEFINE_enum(
    "crops",
    None,
    ["1", "3"],
    "Take this many crops along the longer side of a clip. By default 3, and 1 of images.",
)

command_help.section("What to write")
_TOP = flags.DEFINE_integer("top", 5, "Print this many classes, the best first.", lower_bound=1)
_JSON = flags.DEFINE_string("json", None, "Also write the predictions into this file.")
_FEATURES = flags.DEFINE_string(
    "features", None, "Write the features before the classifier into this .npz file instead."
)
_FEATURES_OF = flags.DEFINE_enum(
    "features_of",
    "video",
    ["video", "clip"],
    "Write one vector of features a video (the mean over its views), or one a view.",
)


def main(arguments: Sequence[str]) -> int:
    videos = arguments[1:]
    if not videos:
        raise ValueError("Name at least one video file: predict.py --work_dir=DIR VIDEO...")
    if _FEATURES.value and _JSON.value:
        raise ValueError("--features are written in the place of the predictions of --json.")
    if _FEATURES.value and not _FEATURES.value.endswith(".npz"):
        raise ValueError(f"--features names an .npz file. Received: --features={_FEATURES.value}")
    for output in filter(None, (_FEATURES.value, _JSON.value)):
        Path(output).absolute().parent.mkdir(parents=True, exist_ok=True)
    if keras.backend.backend() == "tensorflow":
        gpus.tell_if_missed()
    run = load_finished_run(_WORK_DIR.value)
    network = feature_network(run.model) if _FEATURES.value else run.model
    # Compiled once: videos of all lengths and sizes give views of one shape.
    outputs_of = compiled(lambda views: view_outputs(network, views))
    results, failures = {}, []
    # In a process of its own: a file that makes the decoder hang or crash costs itself only.
    with IsolatedReader() as reader:
        for path in progress.over(videos, "video") if len(videos) > 1 else videos:
            try:
                frames = reader.read_frames(path, **run.settings["conversion"]).frames
            except VideoError as error:
                failures.append(str(error))
                continue
            views = views_of_frames(
                frames,
                num_clips=_CLIPS.value or (1 if run.takes_images else 10),
                num_crops=int(_CROPS.value or (1 if run.takes_images else 3)),
                num_frames=run.settings["num_frames"],
                span=run.settings["span"],
                crop_size=run.settings["evaluation_crop_size"],
                short_side=run.settings.get("evaluation_short_side"),
            )
            outputs = np.asarray(outputs_of(views[None]))[0]
            if _FEATURES.value:
                results[path] = outputs.mean(axis=0) if _FEATURES_OF.value == "video" else outputs
            else:
                results[path] = best_classes(outputs, run.class_names)
                progress.write(as_text(path, results[path]))

    if _FEATURES.value and results:
        np.savez_compressed(_FEATURES.value, **results)
        print(f"Features of {len(results)} videos: {_FEATURES.value}")
    elif _JSON.value:
        with open(_JSON.value, "w") as file:
            json.dump(results, file, indent=1)
    for failure in failures:
        print(command_line.paragraph(f"error: {failure}"), file=sys.stderr)
    return command_line.FAILURE if failures else 0


def feature_network(model: keras.Model) -> keras.Model:
    """The network up to the input of its classifier."""
    classifier = next(x for x in reversed(model.layers) if isinstance(x, keras.layers.Dense))
    return keras.Model(model.input, classifier.input)


def best_classes(logits: np.ndarray, class_names: list[str]) -> list[dict]:
    """Logits (views, classes) -> the best classes with their probability averaged over views."""
    scores = keras.ops.convert_to_numpy(keras.ops.softmax(logits)).mean(axis=0)
    best = np.argsort(-scores, kind="stable")[: _TOP.value]
    return [{"class": class_names[i], "probability": float(scores[i])} for i in best]


def as_text(path: str, classes: list[dict]) -> str:
    lines = [f"{row['probability']:8.2%}  {row['class']}" for row in classes]
    return "\n".join([printable(path), *lines])


if __name__ == "__main__":
    command_line.run(main)
