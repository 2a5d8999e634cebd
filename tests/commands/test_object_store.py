"""Convert, train and evaluate over s3://, against a server on this machine.

tensorflow-io, which TensorFlow needs for it, loads on TensorFlow 2.16 and 2.17 only. So these tests
need another environment: `KERAS_RMS_IO_PYTHON` names its Python (`.ci/run` makes one).
"""

import os
import subprocess
import time
import urllib.request

import numpy as np
import pytest
from paths import ROOT
from video_files import write_video

PYTHON = os.environ.get("KERAS_RMS_IO_PYTHON")
SECONDS = 600

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON,
        reason="KERAS_RMS_IO_PYTHON does not name a Python with TensorFlow 2.17 and tensorflow-io",
    ),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Environment variables of commands that use the server; there is one bucket, `bucket`."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with open(log, "w") as output:
        # A process of its own: in this one it would wait for the lock that TensorFlow holds while
        # it waits for the server.
        server = subprocess.Popen(
            [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = _address(log, server)
        urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"))
        root = str(ROOT)
        yield {
            **os.environ,
            "PYTHONPATH": root,
            "S3_ENDPOINT": address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def _address(log, server):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for line in log.read_text().splitlines():
            if "Running on http" in line:
                return line.split()[-1]
        time.sleep(0.2)
    raise AssertionError(f"moto did not start: {log.read_text()}")


def run(store, *arguments, status=0):
    done = subprocess.run(
        [PYTHON, *arguments], env=store, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    return done


def make_videos(folder):
    """Two classes, told apart by their colour, four videos each."""
    rng = np.random.default_rng(0)
    for label, channel in (("red", 0), ("blue", 2)):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            frames = rng.integers(0, 120, (12, 48, 64, 3), np.uint8)
            frames[..., channel] += 120
            write_video(folder / label / f"{number}.mp4", frames)


def test_the_whole_job_runs_over_s3(store, tmp_path):
    make_videos(tmp_path / "videos")
    data = "s3://bucket/data"
    conversion = [
        "pipelines/convert.py",
        "--dataset=folder",
        f"--videos={tmp_path / 'videos'}",
        "--split=train,validation",
        f"--output={data}",
        "--short_side=32",
        "--num_shards=2",
        "--validation_share=0.5",
    ]
    run(store, *conversion)
    # Again: finished, and found to be so.
    assert run(store, *conversion).stderr.count("are finished already") == 2
    run(
        store,
        "scripts/train.py",
        f"--data={data}",
        f"--work_dir={tmp_path / 'run'}",
        "--model=slow_only_18",
        "--width=4",
        "--crop_size=24",
        "--num_frames=4",
        "--span=8",
        "--batch_size=4",
        "--epochs=2",
        "--learning_rate=0.01",
    )
    result = run(
        store,
        "scripts/evaluate.py",
        f"--data={data}",
        f"--work_dir={tmp_path / 'run'}",
        "--views=2x3",
    )
    assert "top-1" in result.stdout.lower() or "top1" in result.stdout.lower()


def test_shards_without_a_video_are_no_trouble(store, tmp_path):
    """tensorflow-io writes no empty objects, and each of the videos has a shard of its own."""
    make_videos(tmp_path / "videos")
    (tmp_path / "videos" / "red" / "damaged.mp4").write_bytes(b"")
    conversion = [
        "pipelines/convert.py",
        "--dataset=folder",
        f"--videos={tmp_path / 'videos'}",
        "--validation_share=0",
        "--output=s3://bucket/empty",
        "--short_side=32",
        "--max_failures=0.2",
    ]
    assert "8 videos of 2 classes" in run(store, *conversion).stdout
    assert "All 9 shards of 'train' are finished already" in run(store, *conversion).stderr
    checked = run(store, "pipelines/verify.py", "--data=s3://bucket/empty", "--contact_sheet=")
    assert "train: 8 of 8 videos are whole" in checked.stdout


def test_a_bug_is_shown_and_the_process_ends(store):
    code = (
        "from pipelines.system import command_line, filesystems\n"
        "command_line.run(lambda arguments: filesystems.require('s3://bucket/x') or 1 / 0)"
    )
    assert "ZeroDivisionError" in run(store, "-c", code, status=1).stderr


def test_a_split_that_is_not_there_is_explained(store, tmp_path):
    code = (
        "from pipelines.shards import split_index\n"
        "from pipelines.system import command_line\n"
        "command_line.run(lambda arguments: split_index.load_index('s3://bucket/none', 'train'))"
    )
    done = run(store, "-c", code, status=1)
    assert "holds no converted videos" in done.stderr and "Traceback" not in done.stderr


def test_clips_are_the_same_from_s3_and_from_the_disk(store, tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests" / "support")!r})
import numpy as np
from coded_videos import coded_video, write_folder
from pipelines.input import training_stream
from pipelines.shards import split_index
from pipelines.system import command_line

def main(arguments):
    videos = [coded_video(str(n), n % 3, 20 + n) for n in range(4)]
    batches = []
    for folder in ("s3://bucket/coded", {str(tmp_path)!r}):
        write_folder(folder, videos)
        dataset = training_stream(folder, batch_size=3, crop_size=16, span=16)
        batches.append(list(dataset.take(3).as_numpy_iterator()))
    for remote, local in zip(*batches):
        np.testing.assert_array_equal(remote[0], local[0])
        np.testing.assert_array_equal(remote[1], local[1])
    index = split_index.load_index("s3://bucket/coded", "train")
    assert len(split_index.read_video(index, 2).frames) == index.num_frames[2]
    print("equal")
command_line.run(main)
"""
    assert run(store, "-c", code).stdout.endswith("equal\n")
