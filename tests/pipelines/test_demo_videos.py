import json
import os
import signal

import av
import command_runner
import numpy as np
import pytest

from pipelines.demo import demo_dataset
from pipelines.demo.demo_dataset import FORMS, SETTINGS_FILE, Form, make_dataset
from pipelines.demo.demo_rendering import CLASSES, render_video

SMALL = {"width": 48, "height": 36, "seconds": 0.4}
TINY = Form(classes=("rise", "orbit"), train_per_class=2, validation_per_class=3)


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), stream.codec_context.name, stream.average_rate


def command(output, *arguments):
    return ["pipelines/demo_videos.py", f"--output={output}", *arguments]


def run(output, *arguments, status=0):
    return command_runner.run(*command(output, *arguments), status=status)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "videos"
    assert make_dataset(output, TINY, workers=2, **SMALL) == 10
    return output


def videos(output):
    return sorted(path.relative_to(output) for path in output.rglob("*") if path.suffix == ".mp4")


def test_counts_and_names(dataset):
    assert [str(path) for path in videos(dataset)] == [
        f"{split}/{name}/{name}_{index:04d}.mp4"
        for split, count in (("train", 2), ("validation", 3))
        for name in ("orbit", "rise")
        for index in range(count)
    ]


def test_files_are_h264_and_show_the_rendered_frames(dataset):
    for path in videos(dataset):
        split, class_name, _ = path.parts
        index = int(path.stem[-4:])
        frames, codec, rate = decode(dataset / path)
        expected = render_video(
            class_name, split=split, index=index, width=48, height=36, num_frames=10
        )
        assert codec == "h264"
        assert rate == 25
        assert frames.shape == expected.shape
        # Compression and halved colour resolution blur edges, no more.
        assert np.abs(frames.astype(int) - expected).mean() < 8, path


def test_same_seed_gives_the_same_frames_whatever_the_workers(dataset, tmp_path):
    make_dataset(tmp_path, TINY, workers=1, **SMALL)
    assert videos(tmp_path) == videos(dataset)
    for path in videos(dataset):
        np.testing.assert_array_equal(decode(dataset / path)[0], decode(tmp_path / path)[0])


@pytest.mark.parametrize("width, height", [(48, 36), (64, 48), (96, 72), (112, 84)])
def test_encoding_gives_the_same_bytes_every_time(width, height):
    frames = render_video("rise", split="train", index=1, width=width, height=height)
    assert len({demo_dataset.encode(frames) for _ in range(10)}) == 1


def test_splits_share_no_video(dataset):
    contents = [decode(dataset / path)[0].tobytes() for path in videos(dataset)]
    assert len(set(contents)) == len(contents)


def test_second_run_makes_only_what_is_missing(dataset):
    lost = dataset / "train/rise/rise_0001.mp4"
    content = lost.read_bytes()
    lost.unlink()
    leftover = lost.with_name("rise_0001.mp4.1.tmp")
    leftover.write_bytes(content[:100])
    before = {path: (dataset / path).stat().st_mtime_ns for path in videos(dataset)}
    assert make_dataset(dataset, TINY, workers=1, **SMALL) == 1
    assert lost.read_bytes() == content
    assert not leftover.exists()
    assert all((dataset / path).stat().st_mtime_ns == stamp for path, stamp in before.items())


@pytest.mark.slow
def test_killed_run_leaves_whole_files_and_continues(tmp_path):
    arguments = ["--size=48x36", "--workers=1", "--train_per_class=8", "--validation_per_class=2"]
    made = command_runner.start(None, *command(tmp_path, *arguments), session=True, cold=True)
    made.wait_for(lambda: len(videos(tmp_path)) >= 5)
    os.killpg(made.process.pid, signal.SIGKILL)
    made.process.join()
    found = videos(tmp_path)
    total = len(FORMS["quick"].classes) * 10
    assert 5 <= len(found) < total
    assert all(len(decode(tmp_path / path)[0]) == 75 for path in found)
    result = run(tmp_path, *arguments)
    assert len(videos(tmp_path)) == total
    assert f"({total - len(found)} new)" in result.stdout


def test_other_settings_are_refused(dataset):
    with pytest.raises(ValueError, match=r"other settings.*'seed': 0.*Received: .*'seed': 1"):
        make_dataset(dataset, TINY, seed=1, **SMALL)


def test_damaged_settings_are_refused(tmp_path):
    (tmp_path / SETTINGS_FILE).write_text("{")
    with pytest.raises(ValueError, match="other settings"):
        make_dataset(tmp_path, TINY, **SMALL)


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="was not made by this command"):
        make_dataset(tmp_path, TINY, **SMALL)
    assert not (tmp_path / SETTINGS_FILE).exists()


def test_settings_are_recorded(dataset):
    assert json.loads((dataset / SETTINGS_FILE).read_text()) == {
        "classes": ["rise", "orbit"],
        "train_per_class": 2,
        "validation_per_class": 3,
        "seed": 0,
        "size": "48x36",
        "seconds": 0.4,
    }


@pytest.mark.parametrize(
    "form, arguments, message",
    [
        (Form((), 1, 1), {}, "Received: classes="),
        (Form(("jump",), 1, 1), {}, "Received: classes=.'jump'"),
        (Form(("rise",), 0, 1), {}, "Received: train_per_class=0"),
        (Form(("rise",), 1, 0), {}, "Received: validation_per_class=0"),
        (TINY, {"seed": -1}, "Received: seed=-1"),
        (TINY, {"width": 97}, "Received: size=97x72"),
        (TINY, {"height": 30}, "Received: size=96x30"),
        (TINY, {"seconds": 0.2}, "Received: seconds=0.2"),
        (TINY, {"seconds": float("nan")}, "Received: seconds=nan"),
        (TINY, {"workers": 0}, "Received: workers=0"),
    ],
)
def test_bad_arguments(tmp_path, form, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_dataset(tmp_path / "new", form, **arguments)
    assert not (tmp_path / "new").exists()


class _EndsItsProcess:
    def __reduce__(self):
        return os._exit, (1,)


def test_ended_worker_is_one_clear_error():
    with pytest.raises(OSError, match="fewer --workers continues"):
        demo_dataset._run([_EndsItsProcess()], total=1, workers=1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--size=96"], "Received: size=96"),
        (["--train_per_class=0"], "Received: train_per_class=0"),
        (["stray"], "Received: stray"),
    ],
)
def test_command_line_errors_are_a_paragraph(tmp_path, arguments, message):
    result = run(tmp_path / "new", *arguments, status=1)
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_unwritable_output_is_a_paragraph(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "file", status=1)
    assert str(tmp_path / "file") in result.stderr
    assert "Traceback" not in result.stderr


def test_forms_overfit_by_having_few_training_videos():
    for form in FORMS.values():
        assert set(form.classes) <= set(CLASSES)
    assert FORMS["comparison"].validation_per_class > FORMS["comparison"].train_per_class
