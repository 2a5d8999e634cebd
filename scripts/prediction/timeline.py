"""The files about a long video: its windows as a table, as a picture and on its frames."""

import contextlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from analysis import overlays, pictures, tables, timelines
from pipelines.frames.video_writer import write_mp4
from pipelines.system import whole_files
from pipelines.system.text import printable
from prediction.windows import Window

Answer = tuple[Window, np.ndarray]  # a window and its probabilities (classes,)


class Timeline:
    """Collects what a network says of each window of a video.

    Args:
        class_names: Of the network.
        top: How many classes a row of the table has, the best first.
    """

    def __init__(self, class_names: Sequence[str], top: int):
        self._class_names = class_names
        self._top = min(top, len(class_names))
        self._times: list[tuple[float, float]] = []
        self._scores: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._scores)

    @property
    def mean(self) -> np.ndarray:
        """The probabilities (classes,), averaged over the windows."""
        return np.mean(self._scores, axis=0)

    def add(self, window: Window, scores: np.ndarray) -> None:
        """Adds the probabilities (classes,) of the next window."""
        self._times.append((window.start, window.end))
        self._scores.append(scores)

    def write(self, stem: Path, title: str) -> None:
        """Writes `stem`.csv and `stem`.png, each whole.

        Args:
            stem: Their path.
            title: Above the picture.
        """
        whole_files.write(f"{stem}.csv", self._table())
        times = np.array(self._times)
        figure = timelines.long_timeline(
            times[:, 0], times[:, 1], np.stack(self._scores), self._class_names, printable(title)
        )
        pictures.save(figure, f"{stem}.png")

    def _table(self) -> bytes:
        ranks = range(1, self._top + 1)
        head = [
            "start",
            "end",
            *(f"{part}_{k}" for k in ranks for part in ("class", "probability")),
        ]
        return tables.csv_file(head, map(self._row, self._times, self._scores))

    def _row(self, times: tuple[float, float], scores: np.ndarray) -> list[str]:
        best = np.argsort(-scores, kind="stable")[: self._top]
        ranked = [cell for c in best for cell in (self._class_names[c], f"{scores[c]:.6f}")]
        return [*(f"{seconds:.3f}" for seconds in times), *ranked]


def write_film(
    path: Path, answers: Iterable[Answer], class_names: Sequence[str], fps: float
) -> None:
    """Writes an .mp4 of all frames with the best class and its probability on them.

    After Ctrl-C it holds what was written by then.

    Args:
        path: The file, which is there as a whole or not at all.
        answers: Windows without gaps between, each with its probabilities (classes,).
        class_names: Of the network.
        fps: Frames a second.
    """
    answers = iter(answers)
    first = next(answers, None)
    if first is None:
        return
    frames = annotated(itertools.chain([first], answers), class_names)
    with whole_files.claimed(path) as file:
        try:
            with whole_files.naming(str(path)):
                write_mp4(file, frames, fps)
                file.flush()
        except KeyboardInterrupt:
            _publish(file, path)  # libav has ended it properly
            raise
        except BaseException:
            _remove(file.name)
            raise
        _publish(file, path)


def _publish(file: BinaryIO, path: Path) -> None:
    file.flush()
    # Stopped before the first frame was encoded, it is empty.
    if os.path.getsize(file.name):
        whole_files.publish(file.name, str(path))
    else:
        _remove(file.name)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def annotated(answers: Iterable[Answer], class_names: Sequence[str]) -> Iterator[np.ndarray]:
    """All frames, each with the answer of the window whose middle is nearest.

    Args:
        answers: Windows without gaps between, each with its probabilities (classes,).
        class_names: Of the network.
    """
    written = 0
    for (window, scores), following in _with_next(answers):
        best = int(scores.argmax())
        text = f"{class_names[best]}  {scores[best]:.0%}"
        until = window.first + len(window.frames)
        if following is not None:
            until = (until + following.first) // 2
        for image in window.frames[written - window.first : until - window.first]:
            yield _captioned(image, text)
        written = until


def _captioned(image: bytes, text: str) -> np.ndarray:
    frame = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    return overlays.captioned(overlays.magnified(frame[None])[0], text)


def _with_next(answers: Iterable[Answer]) -> Iterator[tuple[Answer, Window | None]]:
    held: Answer | None = None
    for answer in answers:
        if held is not None:
            yield held, answer[0]
        held = answer
    if held is not None:
        yield held, None
