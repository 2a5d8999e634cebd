"""CIFAR-100 from its own files, which the tests write in their exact format."""

import io
import os
import pickle
import pickletools
import tarfile
import tracemalloc

import cifar_files
import numpy as np
import pytest
from keras.src.datasets.cifar import load_batch
from PIL import Image

from pipelines.conversion import conversion_job
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion
from pipelines.frames import any_file, cifar_file, video_file
from pipelines.layouts import annotations, catalog
from pipelines.shards import split_index, verification


def write(folder, form, files=None):
    files = files or cifar_files.contents()
    if form == "archive":
        cifar_files.write_archive(folder / "cifar-100-python.tar.gz", files)
    else:
        cifar_files.write_unpacked(folder / form, files)
    return str(folder)


FORMS = ["archive", "cifar-100-python", "cifar-100-python-target/cifar-100-python"]


def test_keras_reads_the_files_of_these_tests(tmp_path):
    """Otherwise they would not be CIFAR's."""
    write(tmp_path, "cifar-100-python")
    for name, count, first in (("train", 30, 0), ("test", 10, 30)):
        images, labels = load_batch(tmp_path / "cifar-100-python" / name, "fine_labels")
        expected = cifar_files.coded_images(count, first).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(images, expected)
        assert labels == [(first + number) % 7 for number in range(count)]
        opcodes = {code.name for code, _, _ in pickletools.genops(cifar_files.contents()[name])}
        assert {"SHORT_BINSTRING", "BINSTRING"} < opcodes  # as only Python 2 writes them


@pytest.mark.parametrize("form", FORMS)
def test_layout(tmp_path, form):
    videos = write(tmp_path, form)
    listings = {
        split: catalog.LAYOUTS["cifar100"](annotations.Source(videos=videos, split=split))
        for split in ("train", "validation", "test")
    }
    assert all(listing.class_names == cifar_files.CLASS_NAMES for listing in listings.values())
    train, test = (list(listings[split].clips()) for split in ("train", "test"))
    assert [clip.label for clip in train] == [number % 7 for number in range(30)]
    assert [clip.label for clip in test] == [number % 7 for number in range(30, 40)]
    assert test == list(listings["validation"].clips())
    assert len({clip.key for clip in train}) == 30 and train[3].key == "train/00003"
    # One place each, over both splits: the check for leaks goes by it.
    assert len({(clip.path, clip.start) for clip in train + test}) == 40


@pytest.mark.parametrize("form", FORMS)
def test_pixels_are_those_of_the_file(tmp_path, form):
    videos = write(tmp_path, form)
    for split, count, first in (("train", 30, 0), ("test", 10, 30)):
        listing = catalog.LAYOUTS["cifar100"](annotations.Source(videos=videos, split=split))
        expected = cifar_files.coded_images(count, first).astype(int)
        for clip, image in zip(listing.clips(), expected):
            encoded = cifar_file.read_frames(os.path.join(videos, clip.path), clip.start)
            assert (encoded.height, encoded.width, len(encoded.frames)) == (32, 32, 1)
            decoded = np.asarray(Image.open(io.BytesIO(encoded.frames[0])).convert("RGB"))
            assert abs(decoded - image).max() <= 1


def test_noise_survives_too():
    """No value of an image without any smoothness is off by more than one."""
    random = np.random.default_rng(0)
    files = cifar_files.contents(1, 1)
    noise = random.integers(0, 256, (1, 3072), np.uint8)
    files["train"] = cifar_files.dumps({b"data": noise, b"fine_labels": [0]})
    decoded = _first_image(files["train"])
    assert abs(decoded.astype(int) - noise.reshape(3, 32, 32).transpose(1, 2, 0)).max() <= 1


def _first_image(content, path="train"):
    with open(path, "wb") as file:
        file.write(content)
    frame = cifar_file.read_frames(path, 0).frames[0]
    return np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cifar_file._pixels.cache_clear()


@pytest.mark.slow
def test_conversion_of_both_splits(tmp_path):
    videos, output = write(tmp_path, "archive"), str(tmp_path / "out")
    manifests = conversion_job.convert_splits(
        Conversion(
            annotations.Source(videos=videos),
            "cifar100",
            output,
            ("train", "validation"),
            Settings(**catalog.USUAL_SETTINGS["cifar100"]),
            num_shards=2,
        )
    )
    assert [manifest["num_videos"] for manifest in manifests.values()] == [30, 10]
    assert not any(manifest["failures"] for manifest in manifests.values())
    for split, count, first in (("train", 30, 0), ("validation", 10, 30)):
        index = split_index.load_index(output, split)
        assert verification.check_split(index)[1] == []
        expected = cifar_files.coded_images(count, first).astype(int)
        for place, key in enumerate(index.keys):
            number = int(key.split("/")[1])
            video = split_index.read_video(index, place)
            assert video.label == (first + number) % 7
            decoded = np.asarray(Image.open(io.BytesIO(video.frames[0])).convert("RGB"))
            assert abs(decoded - expected[number]).max() <= 1


def hostile():
    """Runs a program where pickles are believed."""

    class Program:
        def __reduce__(self):
            return os.mkdir, ("it_ran",)

    return pickle.dumps({b"data": Program(), b"fine_labels": [0]}, 2)


def nested(times):
    return b"\x80\x02}" + b"]" * times + b"a" * (times - 1) + b"."


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(hostile(), id="program"),
        pytest.param(b"\x80\x02cos\nsystem\nU\x02ls\x85R.", id="system"),
        pytest.param(b"\x80\x02cnumpy\nload\nU\x01x\x85R.", id="another name of NumPy"),
        pytest.param(b"", id="empty"),
        pytest.param(cifar_files.contents()["train"][:-5000], id="cut"),
        pytest.param(cifar_files.dumps([1, 2]), id="a list"),
        pytest.param(cifar_files.dumps({b"fine_labels": [0]}), id="no data"),
        pytest.param(cifar_files.dumps({b"data": b"x" * 3072, b"fine_labels": [0]}), id="text"),
        pytest.param(
            cifar_files.dumps({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [0]}),
            id="more images than labels",
        ),
        pytest.param(
            cifar_files.dumps({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [100]}),
            id="a label too many",
        ),
        pytest.param(
            cifar_files.dumps({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [b"0"]}),
            id="a label that is no number",
        ),
        pytest.param(nested(100_000), id="nested"),
    ],
)
@pytest.mark.parametrize("form", FORMS[:2])
def test_damage_is_one_paragraph_and_runs_nothing(tmp_path, form, content):
    videos = write(tmp_path, form, {**cifar_files.contents(), "train": content})
    with pytest.raises(ValueError, match=r"damaged or not CIFAR-100's.*Download it again") as error:
        catalog.LAYOUTS["cifar100"](annotations.Source(videos=videos))
    assert "\n" not in str(error.value)
    assert not os.path.exists("it_ran")


@pytest.mark.parametrize("content", [hostile(), cifar_files.contents()["train"][:-5000], b"\x80"])
def test_damage_found_while_converting_is_the_cause_of_a_failure(content):
    with pytest.raises(video_file.VideoError, match="damaged or not CIFAR-100's"):
        _first_image(content)
    assert not os.path.exists("it_ran")


@pytest.mark.parametrize("length", [0, 2, 20, 1000, -100])
def test_a_cut_archive(tmp_path, length):
    videos = write(tmp_path, "archive")
    path = tmp_path / "cifar-100-python.tar.gz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="damaged or not CIFAR-100's"):
        cifar_file.read(videos, "train")


def test_an_archive_without_one_of_the_files(tmp_path):
    files = cifar_files.contents()
    del files["meta"]
    with pytest.raises(ValueError, match="damaged or not CIFAR-100's"):
        cifar_file.read(write(tmp_path, "archive", files), "train")


@pytest.mark.parametrize("number", [-1, 30])
def test_a_number_of_no_image(number):
    with open("train", "wb") as file:
        file.write(cifar_files.contents()["train"])
    with pytest.raises(video_file.VideoError, match=f"has no image {number}"):
        cifar_file.read_frames("train", number)


def test_no_files_and_no_such_split(tmp_path):
    with pytest.raises(ValueError, match=r"has neither cifar-100-python\.tar\.gz.*load_data"):
        cifar_file.read(str(tmp_path), "train")
    source = annotations.Source(videos=write(tmp_path, "archive"), split="extra")
    with pytest.raises(ValueError, match="Received: split=extra"):
        catalog.LAYOUTS["cifar100"](source)


@pytest.mark.parametrize("form", FORMS[:2])
def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch, form):
    monkeypatch.setattr(cifar_file, "_MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        cifar_file.read(write(tmp_path, form), "train")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("numpy_name", ["numpy._core", "numpy.core"])
def test_files_that_python_3_pickled_again(tmp_path, protocol, numpy_name):
    files = cifar_files.contents()
    for name in ("train", "test"):
        count, first = (30, 0) if name == "train" else (10, 30)
        planes = cifar_files.coded_images(count, first).transpose(0, 3, 1, 2).reshape(count, -1)
        labels = [number % 7 for number in range(first, first + count)]
        batch = {b"data": np.ascontiguousarray(planes), b"fine_labels": labels}
        # Without frames, whose lengths would have to change with the name.
        content = io.BytesIO()
        pickler = pickle._Pickler(content, protocol)
        pickler.framer.start_framing = lambda: None
        pickler.dump(batch)
        old, new = b"numpy._core", numpy_name.encode()
        files[name] = _renamed(content.getvalue(), old, new)
    write(tmp_path, "cifar-100-python", files)
    listing = catalog.LAYOUTS["cifar100"](
        annotations.Source(videos=str(tmp_path), split="validation")
    )
    clip = list(listing.clips())[3]
    encoded = any_file.read_frames(str(tmp_path / clip.path), start=clip.start, end=clip.end)
    image = np.asarray(Image.open(io.BytesIO(encoded.frames[0])).convert("RGB"))
    assert clip.label == (30 + 3) % 7
    assert abs(image.astype(int) - cifar_files.coded_images(1, 33)[0]).max() <= 1


def _renamed(content, old, new):
    """A pickle with another module's name, whose length stands before it in protocol 4 and 5."""
    for tail in (b".multiarray", b".numeric"):
        for head in (b"c", b"\x8c"):
            before, after = old + tail, new + tail
            if head == b"\x8c":
                before, after = (bytes([len(name)]) + name for name in (before, after))
            content = content.replace(head + before, head + after)
    return content


def test_an_array_in_the_other_order_of_memory_is_refused(tmp_path):
    planes = np.asfortranarray(np.zeros((2, 3072), np.uint8))
    content = pickle.dumps({b"data": planes, b"fine_labels": [0, 1]}, protocol=4)
    with pytest.raises(video_file.VideoError, match="damaged or not CIFAR-100's"):
        _first_image(content)


def test_an_archive_that_unpacks_to_much_is_given_up(tmp_path):
    path = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-100-python/train")
        member.size = 1 << 28
        archive.addfile(member, open("/dev/zero", "rb"))
    assert path.stat().st_size < 1 << 19
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to more than 16777216 bytes"):
        cifar_file.read(str(tmp_path), "train")
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02}r\xff\xff\xff\x07.", id="a place in the memo"),
        pytest.param(b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.", id="a bytearray"),
    ],
)
def test_a_few_bytes_take_no_memory(content):
    tracemalloc.start()
    with pytest.raises(video_file.VideoError, match="damaged or not CIFAR-100's"):
        _first_image(content)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
