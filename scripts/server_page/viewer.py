"""What the page shows of a video, without the page."""

import itertools
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from analysis import overlays, timelines
from analysis.places import layers_after_rms
from keras_rms import FrequencyScaling, insert_before
from keras_rms.inference.grad_cam import GradCam, enlarged
from keras_rms.inference.inputs import as_inputs
from keras_rms.inference.trained_network import TrainedNetwork
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.video_writer import write_mp4
from pipelines.input import views_of_frames

_MOST_CLIPS = 12
_SECONDS = 60  # of decoding, then a video is given up
_FILMS = 10  # that are kept
_LONGEST = 600  # seconds of a video that are looked at


@dataclass(frozen=True)
class Seen:
    """A video as the network gets it.

    Attributes:
        clips: uint8 (clips, time, height, width, 3).
        starts: float (clips,), where each begins, in seconds.
        fps: Frames a second of the video as it was read.
    """

    clips: np.ndarray
    starts: np.ndarray
    fps: float


class Viewer:
    """A network and what can be asked of it, by one visitor at a time.

    Args:
        run: The network and its settings.
    """

    def __init__(self, run: TrainedNetwork) -> None:
        self.run = run
        self.most_shown = min(5, len(run.class_names))
        self._reader = IsolatedReader(timeout=_SECONDS)
        self._turn = threading.Lock()
        self._numbers = itertools.count()
        self._cam = GradCam(run.model)
        self._folder = tempfile.TemporaryDirectory(prefix="keras_rms_page_")
        places = layers_after_rms(run.settings, len(run.class_names))
        # Not 1, at which the layer would not be built into anything; set before every use.
        self._scaled = insert_before(
            run.model, lambda layer: layer.name in places, FrequencyScaling(low=0.5)
        )
        self._scales = [x for x in self._scaled.layers if isinstance(x, FrequencyScaling)]

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._folder.cleanup()

    def read(self, path: str) -> Seen:
        """Decodes a video's first ten minutes into clips that follow each other.

        Raises:
            VideoError: If it cannot be read.
        """
        settings = self.run.settings
        # SequenceExample shards do not say how they were converted.
        conversion = settings.get("conversion") or {}
        with self._turn:
            encoded = self._reader.read_frames(path, **conversion, end=_LONGEST)
        frames = encoded.frames
        span = settings["span"]
        count = min(_MOST_CLIPS, -(-len(frames) // span))
        clips = views_of_frames(
            frames,
            num_clips=count,
            num_crops=1,
            num_frames=settings["num_frames"],
            span=span,
            crop_size=settings["evaluation_crop_size"],
            short_side=settings.get("evaluation_short_side"),
        )
        last = max(0, len(frames) - span) / encoded.fps
        return Seen(clips.numpy(), np.linspace(0, last, count), encoded.fps)

    def probabilities(self, seen: Seen, low: float = 1, high: float = 1) -> np.ndarray:
        """(clips, classes), with the two parts of the features scaled."""
        with self._turn:
            for layer in self._scales:
                layer.low, layer.high = float(low), float(high)
            # Not compiled: the scales are numbers that a compiled function would keep.
            logits = [
                self._scaled(as_inputs(self._scaled, clip[None]), training=False)
                for clip in seen.clips
            ]
        return keras.ops.convert_to_numpy(keras.ops.softmax(keras.ops.concatenate(logits)))

    def best(self, probabilities: np.ndarray) -> dict[str, float]:
        """The classes with the highest mean probability."""
        mean = probabilities.mean(axis=0)
        order = np.argsort(-mean, kind="stable")[: self.most_shown]
        return {self.run.class_names[i]: float(mean[i]) for i in order}

    def timeline(self, seen: Seen, probabilities: np.ndarray) -> Figure:
        """The best classes along the video."""
        length = self.run.settings["span"] / seen.fps
        chosen = np.argsort(-probabilities.mean(axis=0), kind="stable")[:3].tolist()
        return timelines.timeline(
            seen.starts + length / 2, probabilities, chosen, self.run.class_names
        )

    def where(self, seen: Seen, probabilities: np.ndarray) -> str:
        """An .mp4 file: frames beside where the best class was read from."""
        chosen = int(probabilities.mean(axis=0).argmax())
        settings = self.run.settings
        rate = seen.fps * settings["num_frames"] / settings["span"]
        number = next(self._numbers)
        folder = Path(self._folder.name)
        # The page has its own copy of each; old ones would fill the disk.
        (folder / f"where_{number - _FILMS}.mp4").unlink(missing_ok=True)
        path = folder / f"where_{number}.mp4"
        with self._turn:
            maps = [self._cam.maps(clip[None], [chosen]) for clip in seen.clips]
        write_mp4(path, _film(seen, maps), max(1.0, rate))
        return str(path)


def _film(seen: Seen, maps: list[dict[str, np.ndarray]]) -> Iterator[np.ndarray]:
    for clip, by_pathway in zip(seen.clips, maps):
        clip = overlays.magnified(clip)
        heats = (enlarged(heat[0], clip.shape[:3]) for heat in by_pathway.values())
        for frame in overlays.beside(clip, heats):
            yield overlays.captioned(frame, f"frames | {' | '.join(map(_title, by_pathway))}")


def _title(pathway: str) -> str:
    return f"where ({pathway})" if pathway else "where"
