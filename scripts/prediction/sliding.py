"""Predictions of windows that slide along a long video, a camera or a stream."""

import collections
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from analysis.timelines import clock
from analysis.video_names import stems
from keras_rms.inference.trained_network import TrainedNetwork
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.live_source import keeps_pace, without_password
from pipelines.frames.video_file import VideoError
from pipelines.input import views_of_frames
from pipelines.system import command_help, output_paths, progress
from prediction.classes import as_text, best_classes, mean_scores
from prediction.results import JsonLines
from prediction.timeline import Answer, Timeline, write_film
from prediction.windows import Window, windows, without_late_ones

command_help.section("Along long videos")
_TIMELINE = flags.DEFINE_string(
    "timeline",
    None,
    "Predict windows that slide along each video, which may be hours long, and write their classes "
    "into this folder, as CSV and PNG.",
)
output_paths.names_folder(_TIMELINE)
_STRIDE = flags.DEFINE_float(
    "stride",
    None,
    "Begin a window every so many seconds. By default each begins where the one before ends.",
    lower_bound=0,
)
_ANNOTATED = flags.DEFINE_bool(
    "annotated", False, "Also write an .mp4 into --timeline, with the class on each frame."
)

_USUAL_FPS = 25  # where neither a training nor a flag says the rate
_SILENCE = 60.0  # seconds without a frame, after which a stream is given up


class Windows(NamedTuple):
    """How the windows are cut and looked at.

    Attributes:
        run: The network and its settings.
        outputs_of: (1, views, time, height, width, 3) -> logits (1, views, classes).
        conversion: Settings of the reader, `start`, `end` and `fps` among them.
        num_crops: Crops of a window.
        top: How many classes are told.
    """

    run: TrainedNetwork
    outputs_of: Callable
    conversion: dict[str, Any]
    num_crops: int
    top: int

    @property
    def fps(self) -> float:
        return self.conversion.get("fps", _USUAL_FPS)

    @property
    def stride(self) -> Fraction:
        """Frames, whole or not, from one window to the next."""
        if _STRIDE.value is None:
            return Fraction(self.run.settings["span"])
        return Fraction(repr(_STRIDE.value)) * Fraction(repr(self.fps))

    def check(self) -> None:
        """Raises ValueError if --stride does not fit the rate or the film, or there is no span."""
        if self.run.covers_video:
            raise ValueError(
                "The clips of this network cover the whole video: give the frames that a window "
                "covers, as in --span=64."
            )
        if self.stride < 1:
            raise ValueError(
                f"--stride must be at least a frame, {1 / self.fps:g} s. "
                f"Received: --stride={_STRIDE.value:g}"
            )
        span = self.run.settings["span"]
        if _ANNOTATED.value and self.stride > span:
            raise ValueError(
                f"--annotated needs windows without gaps: --stride of at most {span / self.fps:g} "
                f"s, the length of a window. Received: --stride={_STRIDE.value:g}"
            )

    def cut(self, frames: Iterable[tuple[bytes, int]]) -> Iterator[Window]:
        begin = self.conversion.get("start") or 0
        return windows(frames, self.run.settings["span"], self.stride, self.fps, begin)

    def scores(self, window: Window) -> np.ndarray:
        """The probabilities (classes,) of one."""
        settings = self.run.settings
        views = views_of_frames(
            window.frames,
            num_clips=1,
            num_crops=self.num_crops,
            num_frames=settings["num_frames"],
            span=settings["span"],
            crop_size=settings["evaluation_crop_size"],
            short_side=settings.get("evaluation_short_side"),
        )
        return mean_scores(np.asarray(self.outputs_of(views[None]))[0])

    def told(self, scores: np.ndarray) -> list[dict]:
        return best_classes(scores, self.run.class_names, self.top)


def is_wanted(live: bool) -> bool:
    """Whether windows are asked for, by a flag or by what is live.

    Raises:
        ValueError: If flags do not fit together.
    """
    for flag in (_ANNOTATED, _STRIDE):
        if _TIMELINE.value is None and flag.value and not (live and flag is _STRIDE):
            raise ValueError(f"--{flag.name} is for windows along a video: give --timeline too.")
    return live or _TIMELINE.value is not None


def watch(name: str, looked: Windows, lines: JsonLines) -> list[str]:
    """Prints what is seen by a camera or in a stream until it ends, or Ctrl-C.

    Returns:
        What went wrong.
    """
    print("Watching until it ends, or Ctrl-C.", file=sys.stderr)
    with IsolatedReader(timeout=_SILENCE) as reader:
        cut = looked.cut(reader.stream_frames(name, live=True, **looked.conversion))
        cut = without_late_ones(cut, _tell_of_late_ones) if keeps_pace(name) else cut
        along = _Along(without_password(name), "live", looked, lines)
        try:
            failures = along.write(cut, _print_window)
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            return []
    if not failures:
        print("The stream has ended.", file=sys.stderr)
    return failures


def predict(videos: Sequence[str], looked: Windows, lines: JsonLines) -> list[str]:
    """Writes the timelines of videos and prints their mean; gives what went wrong."""
    failures: list[str] = []
    with IsolatedReader() as reader:
        for video, stem in zip(videos, stems(videos)):
            cut = looked.cut(reader.stream_frames(video, **looked.conversion))
            along = _Along(video, stem, looked, lines)
            with progress.Progress(None, "window", stem) as shown:
                failures += along.write(cut, lambda *_: shown.update())
            if along.timeline:
                progress.write(as_text(video, looked.told(along.timeline.mean)))
    return failures


def _tell_of_late_ones() -> None:
    print("The camera is faster than this machine: some windows are left out.", file=sys.stderr)


def _print_window(window: Window, classes: list[dict]) -> None:
    told = ", ".join(f"{row['class']} {row['probability']:.0%}" for row in classes)
    print(f"{clock(round(window.start, 2)):>8}  {told}", flush=True)


class _Along:
    """One video, or what is live, from its beginning to its end.

    Args:
        name: The video.
        stem: Of the names of its files.
        looked: How its windows are looked at.
        lines: Where to tell of each.

    Attributes:
        timeline: What was found.
    """

    def __init__(self, name: str, stem: str, looked: Windows, lines: JsonLines):
        self.timeline = Timeline(looked.run.class_names, looked.top)
        self._name = name
        self._stem = stem
        self._looked = looked
        self._lines = lines
        self._failures: list[str] = []

    def write(self, found: Iterator[Window], on_window: Callable) -> list[str]:
        """Looks at all windows, then writes the files, also where Ctrl-C or damage ends it.

        Args:
            found: The windows.
            on_window: Called with each and its best classes.

        Returns:
            What went wrong.
        """
        answers = self._answers(found, on_window)
        if _TIMELINE.value is None:
            collections.deque(answers, maxlen=0)
            return self._failures
        stem = Path(_TIMELINE.value) / f"{self._stem}_timeline"
        stem.parent.mkdir(parents=True, exist_ok=True)
        try:
            if _ANNOTATED.value:
                film = stem.with_name(f"{stem.name}.mp4")
                write_film(film, answers, self._looked.run.class_names, self._looked.fps)
            collections.deque(answers, maxlen=0)
        finally:
            if self.timeline:
                self.timeline.write(stem, os.path.basename(self._name))
        return self._failures

    def _answers(self, found: Iterator[Window], on_window: Callable) -> Iterator[Answer]:
        try:
            for window in found:
                scores = self._looked.scores(window)
                classes = self._looked.told(scores)
                times = {"start": round(window.start, 3), "end": round(window.end, 3)}
                self._lines.add(video=self._name, **times, classes=classes)
                on_window(window, classes)
                self.timeline.add(window, scores)
                yield window, scores
        except VideoError as error:
            self._failures.append(f"{self._name}: {error.cause}")
            self._lines.add(video=self._name, error=error.cause)
