"""Prints what a network sees in videos or images, or saves its features.

    keras-rms predict --work_dir=runs/rms VIDEO...
    keras-rms predict --work_dir=runs/rms --features=features.npz FOLDER
    keras-rms predict --model=slow_only_50.keras --labels=kinetics400.txt VIDEO...
    keras-rms predict --work_dir=runs/rms --timeline=found --annotated FILM...
    keras-rms predict --work_dir=runs/rms rtsp://camera/1

VIDEO is a file, a folder (all videos and images below it) or a pattern such as 'videos/*.mp4'; or,
alone, a camera (/dev/video0) or a stream (http://, rtsp://), which is watched until Ctrl-C. The
network is that of a training, finished or not, or one that keras-rms import-weights wrote.

Each file is resampled, scaled and compressed as the training videos were, and its views are those
of keras-rms evaluate: the scores of a file equal those of its record in a converted dataset.
"""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import network_choice.clips
import numpy as np
from absl import flags

from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.inference.view_scores import compiled, view_outputs
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.video_file import VideoError
from pipelines.input import views_of_frames
from pipelines.system import command_help, command_line, gpus, output_paths, progress
from prediction import files, sliding
from prediction.classes import as_text, best_classes, mean_scores
from prediction.results import FeatureFile, json_lines

flags.adopt_module_key_flags(network_choice)
flags.adopt_module_key_flags(network_choice.clips)
flags.adopt_module_key_flags(sliding)

command_help.section("How to predict")
_CLIPS = flags.DEFINE_integer(
    "clips",
    None,
    "Take this many clips, evenly over the video. By default 10, and 1 of images and of a network "
    "whose clips cover the whole video.",
    lower_bound=1,
)
_CROPS = flags.DEFINE_enum(
    "crops",
    None,
    ["1", "3"],
    "Take this many crops along the longer side of a clip. By default 3, and 1 of images and of "
    "windows along a video.",
)
_START = flags.DEFINE_float(
    "start", None, "Look at each video from this time on, in seconds.", lower_bound=0
)
_END = flags.DEFINE_float("end", None, "Look at each video up to this time, in seconds.")
_FPS = flags.DEFINE_float(
    "fps",
    None,
    "Resample videos to this many frames a second. By default as in training, or 25.",
    lower_bound=0.001,
)

command_help.section("What to write")
_TOP = flags.DEFINE_integer("top", 5, "Print this many classes, the best first.", lower_bound=1)
_JSON = flags.DEFINE_string(
    "json",
    None,
    "Also write the predictions into this file as they come, as JSON, one line a video or window.",
)
_FEATURES = flags.DEFINE_string(
    "features", None, "Write the features before the classifier into this .npz file instead."
)
_FEATURES_OF = flags.DEFINE_enum(
    "features_of",
    "video",
    ["video", "clip"],
    "Write one vector of features a video (the mean over its views), or one a view.",
)
output_paths.names_file(_JSON, _FEATURES)


def main(arguments: Sequence[str]) -> int:
    live = files.live(arguments[1:])
    in_windows = sliding.is_wanted(live=live is not None)
    _check_outputs(in_windows)
    videos = [live] if live else files.listed(arguments[1:])
    if not videos:
        raise ValueError("Name a video, or a folder of videos: predict.py --work_dir=DIR VIDEO...")
    if keras.backend.backend() == "tensorflow":
        gpus.tell_if_missed()
    run = network_choice.clips.opened()
    # As a job's scheduler stops it: what was found by then stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if in_windows:
        failures = _predict_windows(run, videos, live)
    else:
        failures = (_save_features if _FEATURES.value else _predict)(run, videos)
    for failure in failures:
        print(command_line.paragraph(f"error: {failure}"), file=sys.stderr)
    return command_line.FAILURE if failures else 0


def _check_outputs(in_windows: bool) -> None:
    for flag in (_FEATURES, _CLIPS) if in_windows else ():
        if flag.value is not None:
            raise ValueError(
                f"--{flag.name} is for videos as a whole, not for windows along them: leave it "
                "out, or --timeline."
            )
    if _FEATURES.value and _JSON.value:
        raise ValueError("--features are written in the place of the predictions of --json.")
    if _FEATURES.value and not _FEATURES.value.endswith(".npz"):
        raise ValueError(f"--features names an .npz file. Received: --features={_FEATURES.value}")
    if _END.value is not None and _END.value <= (_START.value or 0):
        raise ValueError(
            f"--end must be after --start. Received: --start={_START.value or 0:g}, "
            f"--end={_END.value:g}"
        )
    for output in filter(None, (_FEATURES.value, _JSON.value)):
        Path(output).absolute().parent.mkdir(parents=True, exist_ok=True)


def _predict(run: TrainedNetwork, videos: Sequence[str]) -> list[str]:
    """Prints the best classes of each video; gives the errors of those that cannot be read."""
    failures = []
    with json_lines(_JSON.value) as lines:
        for path, outputs in _outputs(run, run.model, videos):
            if isinstance(outputs, VideoError):
                failures.append(str(outputs))
                lines.add(video=path, error=outputs.cause)
                continue
            classes = best_classes(mean_scores(outputs), run.class_names, _TOP.value)
            lines.add(video=path, classes=classes)
            progress.write(as_text(path, classes))
    return failures


def _predict_windows(run: TrainedNetwork, videos: Sequence[str], live: str | None) -> list[str]:
    """Tells what is seen along videos, or by a camera; gives what went wrong."""
    looked = sliding.Windows(
        run,
        _outputs_of(run.model),
        _conversion(run),
        num_crops=int(_CROPS.value or 1),
        top=_TOP.value,
    )
    looked.check()
    with json_lines(_JSON.value) as lines:
        if live is not None:
            return sliding.watch(live, looked, lines)
        return sliding.predict(videos, looked, lines)


def _save_features(run: TrainedNetwork, videos: Sequence[str]) -> list[str]:
    """Saves the features of each video; gives the errors of those that cannot be read."""
    failures, saved = [], 0
    with FeatureFile(_FEATURES.value) as features:
        for path, outputs in _outputs(run, feature_network(run.model), videos):
            if isinstance(outputs, VideoError):
                failures.append(str(outputs))
                continue
            features.add(path, outputs.mean(axis=0) if _FEATURES_OF.value == "video" else outputs)
            saved += 1
    if saved:
        print(f"Features of {saved} videos: {_FEATURES.value}")
    return failures


def _outputs(
    run: TrainedNetwork, network: keras.Model, videos: Sequence[str]
) -> Iterator[tuple[str, np.ndarray | VideoError]]:
    """Each video with the network's outputs (views, outputs), or with what is wrong with it."""
    settings = run.settings
    conversion, outputs_of = _conversion(run), _outputs_of(network)
    num_clips, num_crops = run.usual_views
    # In a process of its own: a file that makes the decoder hang or crash costs itself only.
    with IsolatedReader() as reader:
        for path in progress.over(videos, "video") if len(videos) > 1 else videos:
            try:
                frames = reader.read_frames(path, **conversion).frames
            except VideoError as error:
                yield path, error
                continue
            views = views_of_frames(
                frames,
                num_clips=_CLIPS.value or num_clips,
                num_crops=int(_CROPS.value or num_crops),
                num_frames=settings["num_frames"],
                span=settings["span"],
                crop_size=settings["evaluation_crop_size"],
                short_side=settings.get("evaluation_short_side"),
            )
            yield path, np.asarray(outputs_of(views[None]))[0]


def _outputs_of(network: keras.Model) -> Callable:
    # Compiled once: videos of all lengths and sizes give views of one shape.
    return compiled(lambda views: view_outputs(network, views))


def _conversion(run: TrainedNetwork) -> dict[str, Any]:
    """How videos are read: as in training, and the part and the rate where flags say them."""
    values = {"start": _START.value, "end": _END.value, "fps": _FPS.value}
    given = {name: value for name, value in values.items() if value is not None}
    return {**(run.settings.get("conversion") or {}), **given}


def feature_network(model: keras.Model) -> keras.Model:
    """The network up to the input of its classifier."""
    classifier = next(x for x in reversed(model.layers) if isinstance(x, keras.layers.Dense))
    return keras.Model(model.input, classifier.input)


if __name__ == "__main__":
    command_line.run(main)
