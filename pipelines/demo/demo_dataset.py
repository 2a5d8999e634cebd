"""The demonstration dataset: which videos it has, each made by itself and written as H.264."""

import concurrent.futures
import dataclasses
import io
import json
import multiprocessing
import os
import pathlib

import numpy as np

from pipelines.demo.demo_rendering import CLASSES, FPS, SMALLEST, render_video
from pipelines.frames.video_writer import write_mp4
from pipelines.system import whole_files
from pipelines.system.progress import Progress

SETTINGS_FILE = "demo_videos.json"
_QUALITY = 18  # x264's constant rate factor: no loss that the eye sees


@dataclasses.dataclass(frozen=True)
class Form:
    """How much of the dataset is made: few training videos, so that a network overfits."""

    classes: tuple[str, ...]
    train_per_class: int
    validation_per_class: int


FORMS = {
    "quick": Form(
        classes=("rise", "fall", "slide", "spin", "grow", "shrink", "bounce", "orbit"),
        train_per_class=20,
        validation_per_class=20,
    ),
    # Fewer training videos, so that a plain network overfits; more to validate on, so that a
    # difference shows.
    "comparison": Form(classes=tuple(CLASSES), train_per_class=14, validation_per_class=60),
}


@dataclasses.dataclass(frozen=True)
class _Job:
    path: pathlib.Path
    class_name: str
    split: str
    index: int
    seed: int
    width: int
    height: int
    num_frames: int


def encode(frames: np.ndarray) -> bytes:
    """Encodes uint8 RGB frames (T, H, W, 3) as an H.264 .mp4 file of 25 frames a second."""
    buffer = io.BytesIO()
    write_mp4(buffer, frames, FPS, _QUALITY)
    return buffer.getvalue()


def _make(job: _Job) -> None:
    frames = render_video(
        job.class_name,
        split=job.split,
        index=job.index,
        seed=job.seed,
        width=job.width,
        height=job.height,
        num_frames=job.num_frames,
    )
    whole_files.write(job.path, encode(frames))


def make_dataset(
    output: str | os.PathLike,
    form: Form,
    *,
    seed: int = 0,
    width: int = 96,
    height: int = 72,
    seconds: float = 3.0,
    workers: int | None = None,
) -> int:
    """Writes the videos of `form` that are missing below `output`.

    Example:

    >>> make_dataset("demo", FORMS["quick"])

    Args:
        output: Folder to make or to complete.
        form: Classes and numbers of videos.
        seed: Non-negative integer; another seed gives other videos.
        width, height: Even size in pixels, at least 32.
        seconds: Length of each video, at 25 frames a second.
        workers: Number of processes; all cores by default.

    Returns:
        The number of videos written by this call.

    Raises:
        ValueError: On arguments out of range, and where `output` holds other videos.
    """
    _check(form, seed, width, height, seconds, workers)
    output = pathlib.Path(output)
    _claim(
        output,
        {
            "classes": list(form.classes),
            "train_per_class": form.train_per_class,
            "validation_per_class": form.validation_per_class,
            "seed": seed,
            "size": f"{width}x{height}",
            "seconds": seconds,
        },
    )
    counts = {"train": form.train_per_class, "validation": form.validation_per_class}
    jobs = []
    for split, count in counts.items():
        for class_name in form.classes:
            folder = output / split / class_name
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(f"*{whole_files.ENDING}"):
                leftover.unlink()
            for index in range(count):
                path = folder / f"{class_name}_{index:04d}.mp4"
                size = (width, height, round(seconds * FPS))
                # Files are there whole or not at all, so that this one is finished.
                if not path.exists():
                    jobs.append(_Job(path, class_name, split, index, seed, *size))
    _run(jobs, sum(counts.values()) * len(form.classes), workers or os.cpu_count() or 1)
    return len(jobs)


def _check(
    form: Form, seed: int, width: int, height: int, seconds: float, workers: int | None
) -> None:
    unknown = [name for name in form.classes if name not in CLASSES]
    if unknown or not form.classes:
        raise ValueError(
            f"`classes` must name some of {', '.join(CLASSES)}. Received: classes={form.classes}"
        )
    for name in ("train_per_class", "validation_per_class"):
        if getattr(form, name) < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {name}={getattr(form, name)}")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}")
    if min(width, height) < SMALLEST or width % 2 or height % 2:
        raise ValueError(
            f"The size must be even and at least {SMALLEST} pixels each way, as 96x72. "
            f"Received: size={width}x{height}"
        )
    if not seconds * FPS >= 8:
        raise ValueError(f"`seconds` must give 8 frames or more. Received: seconds={seconds}")
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be at least 1. Received: workers={workers}")


def _claim(output: pathlib.Path, settings: dict) -> None:
    """Records the settings before the first video: two datasets never mix in one folder."""
    path = output / SETTINGS_FILE
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = None
        if found != settings:
            raise ValueError(
                f"{output} holds demonstration videos made with other settings ({path}). "
                "Delete the folder or name another with --output. "
                f"Found: {found}. Received: {settings}"
            )
        return
    for split in ("train", "validation"):
        if (output / split).exists():
            raise ValueError(
                f"{output / split} exists already and was not made by this command "
                f"({SETTINGS_FILE} is missing). Name an empty or new folder with --output."
            )
    output.mkdir(parents=True, exist_ok=True)
    whole_files.write(path, json.dumps(settings, indent=2).encode())


def _run(jobs: list[_Job], total: int, workers: int) -> None:
    progress = Progress(total, "video", "videos", done=total - len(jobs))
    if not jobs:
        progress.close()
        return
    # Spawned, not forked: a caller may have started TensorFlow's threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context)
    try:
        for _ in pool.map(_make, jobs, chunksize=4):
            progress.update()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise OSError(
            "A process that makes videos was ended from outside, for lack of memory perhaps. "
            "The same command with fewer --workers continues where it stopped."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        progress.close()
