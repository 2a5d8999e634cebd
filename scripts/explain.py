"""Shows where a network looked in videos: Grad-CAM over time and space.

    keras-rms explain --work_dir=runs/rms VIDEO...
    keras-rms explain --work_dir=runs/rms --class=juggling --output=where VIDEO...
    keras-rms explain --model=slow_only_50_kinetics400 VIDEO...

VIDEO is a file, a folder (all videos and images below it) or a pattern such as 'videos/*.mp4'. Of
each it takes clips that follow each other, as the network sees them. It works out how much each
place of a clip speaks for a class: by default for the one that the network gives the video.
Writes into --output:
    <name>_where.mp4  the frames beside the same frames in grey, in colour where it counts
    <name>_where.png  frames of the clip with the highest probability of the class

A SlowFast network has two maps, of its slow and of its fast pathway. A map is coarse: a cell of it
covers 32x32 pixels in most networks. It shows what the class was read from, right or wrong.
"""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import network_choice.clips
import numpy as np
from absl import flags

from analysis import overlays, pictures
from analysis.video_names import stems
from keras_rms.inference.grad_cam import GradCam, enlarged
from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.inference.view_scores import compiled, view_outputs
from pipelines.frames.encoded_frames import EncodedFrames
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.video_file import VideoError
from pipelines.frames.video_writer import write_mp4
from pipelines.input import views_of_frames
from pipelines.system import command_help, command_line, gpus, output_paths, progress, whole_files
from pipelines.system.text import printable
from prediction import files

flags.adopt_module_key_flags(network_choice)
flags.adopt_module_key_flags(network_choice.clips)

command_help.section("What to explain")
_CLASS = flags.DEFINE_string(
    "class", None, "Look for this class. By default for the network's answer for the video."
)
_CLIPS = flags.DEFINE_integer(
    "clips", 10, "Take at most this many clips of a video, evenly over it.", lower_bound=1
)

command_help.section("What to write")
_OUTPUT = flags.DEFINE_string("output", "where", "Write videos and pictures into this folder.")
output_paths.names_folder(_OUTPUT)


class Explained(NamedTuple):
    """Clips of a video with a class and its maps.

    Attributes:
        class_name: Looked for.
        probabilities: float (clips,), of the class.
        clips: uint8 (clips, time, height, width, 3).
        heat: Pathway -> float (clips, time, height, width) from 0 to 1.
        rate: Frames of a clip in a second.
    """

    class_name: str
    probabilities: np.ndarray
    clips: np.ndarray
    heat: dict[str, np.ndarray]
    rate: float


def main(arguments: Sequence[str]) -> int:
    videos = files.listed(arguments[1:])
    if not videos:
        raise ValueError("Name a video, or a folder of videos: explain.py --work_dir=DIR VIDEO...")
    gpus.tell_if_missed()
    run = network_choice.clips.opened()
    wanted = _wanted_class(run)
    cam = GradCam(run.model)
    outputs_of = compiled(lambda views: view_outputs(run.model, views))
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    # SequenceExample shards do not say how they were converted.
    conversion = run.settings.get("conversion") or {}
    failures = []
    with IsolatedReader() as reader:
        for video, stem in progress.over(list(zip(videos, stems(videos))), "video"):
            try:
                encoded = reader.read_frames(video, **conversion)
            except VideoError as error:
                failures.append(str(error))
                continue
            found = explain(run, cam, outputs_of, encoded, wanted)
            write(output / f"{stem}_where", found)
            best = found.probabilities.max()
            progress.write(f"{printable(video)}: {found.class_name}, {best:.1%} in the best clip")
    print(f"Wrote {output}.")
    for failure in failures:
        print(command_line.paragraph(f"error: {failure}"), file=sys.stderr)
    return command_line.FAILURE if failures else 0


def _wanted_class(run: TrainedNetwork) -> int | None:
    name = _CLASS.value
    if name is None:
        return None
    if name not in run.class_names:
        raise ValueError(
            f"--class must be one of the network's {len(run.class_names)} classes, such as "
            f"{', '.join(run.class_names[:5])}. Received: --class={name}"
        )
    return run.class_names.index(name)


def explain(
    run: TrainedNetwork,
    cam: GradCam,
    outputs_of: Callable,
    encoded: EncodedFrames,
    wanted: int | None,
) -> Explained:
    """The maps of a video's clips.

    Args:
        run: The network and its settings.
        cam: Of the network.
        outputs_of: (1, views, time, height, width, 3) -> logits (1, views, classes).
        encoded: The whole video.
        wanted: The class; None for the network's answer.
    """
    frames = encoded.frames
    # A clip that spreads over all of a video has its length.
    length = run.settings["span"] or len(frames)
    views = views_of_frames(
        frames,
        num_clips=min(_CLIPS.value, -(-len(frames) // length)),
        num_crops=1,
        num_frames=run.settings["num_frames"],
        span=run.settings["span"],
        crop_size=run.settings["evaluation_crop_size"],
        short_side=run.settings.get("evaluation_short_side"),
    )
    logits = np.asarray(outputs_of(views[None]))[0]
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    chosen = int(probabilities.mean(axis=0).argmax()) if wanted is None else wanted
    clips = views.numpy()
    # One at a time: the memory is that of a clip.
    maps = [cam.maps(clip[None], [chosen]) for clip in clips]
    heat = {
        pathway: np.stack([enlarged(each[pathway][0], clips.shape[1:4]) for each in maps])
        for pathway in cam.pathways
    }
    rate = encoded.fps * run.settings["num_frames"] / length
    return Explained(run.class_names[chosen], probabilities[:, chosen], clips, heat, rate)


def write(stem: Path, found: Explained) -> None:
    """The video and the picture."""
    video = stem.with_name(stem.name + ".mp4")
    content = io.BytesIO()
    write_mp4(content, _film(found), max(1.0, found.rate))
    whole_files.write(video, content.getvalue())
    best = int(found.probabilities.argmax())
    rows = [("frames", found.clips[best])]
    for pathway, heat in found.heat.items():
        rows.append((pathway or "where", overlays.overlaid(found.clips[best], heat[best])))
    title = f"{found.class_name}: {found.probabilities[best]:.1%}"
    pictures.save(overlays.grid(rows, title), stem.with_name(stem.name + ".png"))


def _film(found: Explained) -> Iterator[np.ndarray]:
    for number, clip in enumerate(found.clips):
        pair = overlays.beside(clip, (heat[number] for heat in found.heat.values()))
        for frame in overlays.magnified(pair):
            text = f"{found.class_name}  {found.probabilities[number]:.0%}"
            yield overlays.captioned(frame, text)


if __name__ == "__main__":
    command_line.run(main)
