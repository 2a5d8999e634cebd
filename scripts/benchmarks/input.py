"""Reading training clips: this pipeline, its floor, the SequenceExample form, and the video files.

Every way gives the same batches: 8 of 64 frames, a random crop scaled to 224 x 224, flipped half of
the time. The process is held on one core and what counts is the processor time that a
clip takes, so that clips/s are per core and other work on the machine hardly matters.
The rows of the cold cache are measured by the clock, after the kernel was told to forget the files.
"""

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

# TensorFlow makes its threads at its first operation: the process must be on its core before.
import tensorflow as tf  # isort: skip

from benchmarks import common
from pipelines.frames import video_file
from pipelines.input import augmentation, sampling, training_stream
from pipelines.input.clip_reader import StoredVideo
from pipelines.input.training_clip import training_clip
from pipelines.shards import records, split_index, split_writing
from pipelines.system import command_help

command_help.section("What to measure")
_VIDEO = flags.DEFINE_string(
    "video", None, "Measure with this video file. By default one of noise textures is made."
)
_VIDEOS = flags.DEFINE_integer(
    "videos", 64, "Write the video this number of times into the shards.", lower_bound=8
)
_CLIPS = flags.DEFINE_integer(
    "clips",
    96,
    "Read this many clips in one repetition, rounded down to batches of 8.",
    lower_bound=8,
)
_REPETITIONS = flags.DEFINE_integer(
    "repetitions", 7, "Measure each way this number of times, in turns.", lower_bound=1
)
_FOLDER = flags.DEFINE_string(
    "folder", None, "Write the shards into this folder. By default into a temporary one."
)

BATCH = 8
SPAN = 64
OPTIONS = {
    "num_frames": 8,
    "stride": 8,
    "crop_size": 224,
    "min_area": 0.25,
    "flipped_labels": np.arange(1, dtype=np.int32),
    "max_ratio": 1,
}

THIS = "this pipeline"
FLOOR = "the same frames and crops from memory (floor)"
SEQUENCE = "SequenceExample, crops decoded"
DMVR = "SequenceExample, frames decoded whole as in DMVR"


def run(json_path: str | None) -> None:
    """Measures all ways and prints the table."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
        path = _VIDEO.value or _noise_video(os.path.join(folder, "noise.mp4"))
        encoded = video_file.read_frames(path)
        shards = _write_shards(folder, encoded)
        ways = {
            THIS: _this_pipeline(folder),
            FLOOR: _clips(_stored(encoded), training_clip),
            SEQUENCE: _sequence_examples(shards["sequence"], training_clip),
            DMVR: _sequence_examples(shards["sequence"], _whole_frames_clip),
        }
        ways |= _video_readers(path)
        seconds = _processor_seconds(ways)
        cold = _cold_seconds({THIS: shards["records"], SEQUENCE: shards["sequence"]}, ways)
    floor = statistics.median(seconds[FLOOR])
    sequence = statistics.median(seconds[SEQUENCE])
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times)
        rows.append(
            {
                "way": name,
                "ms/clip": 1e3 * median,
                "clips/s per core": 1 / median,
                "% of the floor": 100 * floor / median,
                "times SequenceExample": sequence / median,
                "ms/clip, cold cache, by the clock": cold.get(name),
            }
        )
    kilobytes = statistics.mean(map(len, encoded.frames)) / 1000
    title = (
        f"Reading training clips: {len(encoded.frames)} frames of {encoded.width}x{encoded.height},"
        f" {kilobytes:.1f} kB each"
    )
    common.report(title, rows, json_path)


# --- the data ------------------------------------------------------------------------------------


def _noise_video(path: str) -> str:
    """Ten seconds of drifting textures whose detail falls with its frequency as in photographs."""
    import av

    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(340), np.fft.fftfreq(256)))
    spectrum = rng.normal(size=(3, 256, 340)) / np.maximum(frequency, 1 / 340) ** 1.2
    texture = np.fft.ifft2(spectrum * np.exp(2j * np.pi * rng.random((3, 256, 340)))).real
    texture = np.moveaxis((texture - texture.mean()) / texture.std() * 50 + 128, 0, -1)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for number in range(250):
            moved = np.roll(texture, (number, 2 * number), (0, 1)) + rng.normal(size=texture.shape)
            image = np.clip(moved, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def _write_shards(folder: str, encoded: Any) -> dict[str, list[str]]:
    """The same videos in both forms, four shards each, with nothing left to write to the disk."""
    forms = {"records": [], "sequence": []}
    rows = []
    for number in range(4):
        videos = range(number, _VIDEOS.value, 4)
        shard = split_index.shard_path(folder, "train", number, 4)
        rows.append(
            records.write_shard(
                shard,
                (
                    records.EncodedVideo(
                        f"{video}", 0, encoded.frames, encoded.height, encoded.width, 25.0
                    )
                    for video in videos
                ),
            )
        )
        forms["records"].append(shard)
        forms["sequence"].append(os.path.join(folder, f"sequence-{number:05d}-of-00004"))
        with tf.io.TFRecordWriter(forms["sequence"][-1]) as writer:
            for _ in videos:
                writer.write(_sequence_example(encoded.frames))
    split_writing.write_split(folder, "train", rows, ["class"], {})
    # The kernel forgets only what is on the disk; see `_forget`.
    os.sync()
    return forms


def _sequence_example(frames: list[bytes]) -> bytes:
    example = tf.train.SequenceExample()
    example.context.feature["clip/label/index"].int64_list.value.append(0)
    images = example.feature_lists.feature_list["image/encoded"]
    for frame in frames:
        images.feature.add().bytes_list.value.append(frame)
    return example.SerializeToString()


# --- the ways ------------------------------------------------------------------------------------


def _this_pipeline(folder: str) -> Callable[[], None]:
    dataset = training_stream(folder, batch_size=BATCH, data_workers=1)
    return lambda: _drain(dataset)


def _batches(clips: tf.data.Dataset) -> Callable[[], None]:
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    dataset = clips.batch(BATCH, drop_remainder=True).prefetch(2).with_options(options)
    return lambda: _drain(dataset)


def _clips(video: StoredVideo, make: Callable) -> Callable[[], None]:
    # Endless, as far as a benchmark goes.
    positions = tf.data.Dataset.range(2**40)
    return _batches(positions.map(lambda p: make(video, sampling.clip_seed(p, 0), **OPTIONS), 1))


def _stored(encoded: Any) -> StoredVideo:
    frames = tf.constant(list(encoded.frames))
    return _video(frames, len(encoded.frames), encoded.height, encoded.width)


def _video(frames: tf.Tensor, num_frames: Any, height: Any, width: Any) -> StoredVideo:
    return StoredVideo(
        label=tf.constant(0),
        num_frames=tf.cast(num_frames, tf.int64),
        height=tf.cast(height, tf.int32),
        width=tf.cast(width, tf.int32),
        read=lambda start, stride, count: tf.gather(
            frames, start + stride * tf.range(count, dtype=tf.int64)
        ),
    )


def _sequence_examples(paths: list[str], make: Callable) -> Callable[[], None]:
    """As those projects do: shards in turns, a shuffle buffer of records, then parsing."""

    def clip(position: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, lists = tf.io.parse_single_sequence_example(
            record,
            {"clip/label/index": tf.io.FixedLenFeature([], tf.int64)},
            {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)},
        )
        frames = lists["image/encoded"]
        height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(frames[0]))
        video = _video(frames, tf.size(frames), height, width)
        return make(video, sampling.clip_seed(position, 0), **OPTIONS)

    shards = tf.data.Dataset.from_tensor_slices(paths)
    read = shards.interleave(tf.data.TFRecordDataset, cycle_length=4, num_parallel_calls=1)
    return _batches(read.repeat().shuffle(16, seed=0).enumerate().map(clip, 1))


def _whole_frames_clip(
    video: StoredVideo, seed: tf.Tensor, **options: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """The clip of `training_clip`, every frame decoded whole before it is cropped."""
    seeds = tf.random.split(seed, 3)
    start = sampling.training_start(seeds[0], video.num_frames, SPAN)
    frames = tf.map_fn(
        lambda frame: tf.io.decode_jpeg(frame, channels=3),
        video.read(start, options["stride"], options["num_frames"]),
        fn_output_signature=tf.uint8,
    )
    return _augmented(frames, seeds, video.height, video.width), video.label


def _augmented(
    frames: tf.Tensor, seeds: tf.Tensor, height: tf.Tensor, width: tf.Tensor
) -> tf.Tensor:
    box = augmentation.random_crop(seeds[1], height, width, min_area=OPTIONS["min_area"])
    top, left, box_height, box_width = tf.unstack(box)
    crop = frames[:, top : top + box_height, left : left + box_width]
    scaled = augmentation.scale(crop, OPTIONS["crop_size"], OPTIONS["crop_size"])
    return augmentation.flip(scaled, tf.random.stateless_uniform([], seeds[2]) < 0.5)


def _drain(batches: tf.data.Dataset) -> None:
    for _ in batches.take(_clips_read() // BATCH):
        pass


def _clips_read() -> int:
    """The clips of one repetition: whole batches only, by which its time is divided."""
    return _CLIPS.value // BATCH * BATCH


def _clips_read_from_video() -> int:
    # A twelfth: these ways take about twelve times as long.
    return max(_CLIPS.value // 12, 2)


def _video_readers(path: str) -> dict[str, Callable[[], None]]:
    """The video file read directly, by every library that is installed."""
    ways = {"PyAV, the .mp4 itself": lambda: _drain_reader(_read_with_av, path)}
    for name, read in (("decord", _read_with_decord), ("torchcodec", _read_with_torchcodec)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed and left out.")
            continue
        try:
            read(path, np.arange(0, SPAN, 8))
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name} does not work here and is left out: {str(error).splitlines()[0]}")
            continue
        ways[f"{name}, the .mp4 itself"] = lambda read=read: _drain_reader(read, path)
    return ways


def _drain_reader(read: Callable, path: str) -> None:
    rng = np.random.default_rng(0)
    # The length of the video that `_noise_video` makes.
    length = 250 if _VIDEO.value is None else _count_frames(path)
    for clip in range(_clips_read_from_video()):
        start = rng.integers(0, max(length - SPAN, 0) + 1)
        frames = read(path, start + np.arange(0, SPAN, 8))
        _augment_array(tf.constant(frames), tf.constant(clip, tf.int64)).numpy()


@tf.function(reduce_retracing=True)
def _augment_array(frames: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    seeds = tf.random.split(sampling.clip_seed(position, 0), 3)
    return _augmented(frames, seeds, tf.shape(frames)[1], tf.shape(frames)[2])


def _count_frames(path: str) -> int:
    import av

    with av.open(path) as container:
        return container.streams.video[0].frames


def _read_with_av(path: str, numbers: np.ndarray) -> np.ndarray:
    import av

    wanted = set(numbers.tolist())
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        step = 1 / (stream.average_rate * stream.time_base)
        container.seek(int(numbers[0] * step) + (stream.start_time or 0), stream=stream)
        return np.stack(list(_wanted_frames(container.decode(stream), wanted, step, stream)))


def _wanted_frames(frames: Iterator, wanted: set[int], step: Any, stream: Any) -> Iterator:
    for frame in frames:
        number = round((frame.pts - (stream.start_time or 0)) / step)
        if number in wanted:
            yield frame.to_ndarray(format="rgb24")
        if number >= max(wanted):
            return


def _read_with_decord(path: str, numbers: np.ndarray) -> np.ndarray:
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(numbers).asnumpy()


def _read_with_torchcodec(path: str, numbers: np.ndarray) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")
    return decoder.get_frames_at(numbers.tolist()).data.numpy()


# --- the clocks ----------------------------------------------------------------------------------


def _processor_seconds(ways: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of processor time per clip, measured in turns."""
    seconds = {name: [] for name in ways}
    for repetition in range(_REPETITIONS.value + 1):
        for name in sorted(ways, reverse=repetition % 2 == 1):
            start = time.process_time()
            ways[name]()
            # The first round fills caches and traces functions.
            if repetition:
                clips = _clips_read_from_video() if "itself" in name else _clips_read()
                seconds[name].append((time.process_time() - start) / clips)
    return seconds


def _cold_seconds(
    files: dict[str, list[str]], ways: dict[str, Callable[[], None]]
) -> dict[str, float]:
    """Milliseconds by the clock per clip when the files have to come from the disk."""
    times = {name: [] for name in files}
    for _ in range(_REPETITIONS.value):
        for name, paths in files.items():
            for path in paths:
                _forget(path)
            start = time.perf_counter()
            ways[name]()
            times[name].append(1e3 * (time.perf_counter() - start) / _clips_read())
    return {name: statistics.median(values) for name, values in times.items()}


def _forget(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
