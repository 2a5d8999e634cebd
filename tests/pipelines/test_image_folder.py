"""Class folders of images, as ImageNet is kept, with the strange files that it has."""

import numpy as np
import pytest
from PIL import Image

from pipelines.conversion import conversion_job
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion
from pipelines.layouts import annotations, catalog
from pipelines.shards import split_index, verification

CLASSES = ["n01440764", "n01443537", "n01484850"]


def write_image(path, color, mode="RGB", size=(50, 40), format="JPEG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).convert(mode).save(path, format)


@pytest.fixture
def imagenet(tmp_path):
    """`train` and `val`, with a gray, a CMYK, a PNG named JPEG, an empty and a cut image."""
    folder = tmp_path / "imagenet"
    for split, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                prefix = {"train": name, "val": "ILSVRC2012_val"}[split]
                path = folder / split / name / f"{prefix}_{number}.JPEG"
                write_image(path, (60 * label, 20 * number, 128))
    train = folder / "train"
    write_image(train / CLASSES[0] / "gray.JPEG", "gray", "L")
    write_image(train / CLASSES[1] / "cmyk.JPEG", "red", "CMYK")
    write_image(train / CLASSES[2] / "png.JPEG", "blue", format="PNG")
    (train / CLASSES[2] / "empty.JPEG").touch()
    cut = train / CLASSES[0] / "cut.JPEG"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(cut, "JPEG")
    cut.write_bytes(cut.read_bytes()[:2000])
    (train / CLASSES[0] / "notes.txt").touch()
    (train / "synset_words.txt").touch()
    return folder


def listed(videos, split="train", **options):
    source = annotations.Source(videos=str(videos), split=split, **options)
    listing = catalog.LAYOUTS["image_folder"](source)
    return listing, list(listing.clips())


def test_splits_are_their_folders(imagenet):
    for split, count in (("train", 23), ("validation", 6), ("val", 6)):
        listing, clips = listed(imagenet, split)
        assert listing.class_names == CLASSES and len(clips) == count
        assert all(CLASSES[clip.label] in clip.path for clip in clips)
    assert clips[0].path == "val/n01440764/ILSVRC2012_val_0.JPEG"


def test_without_folders_of_splits_each_class_is_shared_out(imagenet):
    (_, train), (_, validation) = (
        listed(imagenet / "train", split, validation_share=0.25)
        for split in ("train", "validation")
    )
    assert len(train) + len(validation) == 23 and 0 < len(validation) < len(train)
    assert not set(train) & set(validation)


def test_a_class_that_is_called_train_is_no_split(tmp_path):
    for name in ("train", "bus"):
        for number in range(4):
            write_image(tmp_path / name / f"{number}.png", "red", format="PNG")
    listing, clips = listed(tmp_path, validation_share=0)
    assert listing.class_names == ["bus", "train"] and len(clips) == 8


def test_a_split_without_folders_of_classes_is_no_class(imagenet):
    """ImageNet's validation images come so."""
    for path in list(imagenet.glob("val/*/*")):
        path.rename(imagenet / "val" / path.name)
    for name in CLASSES:
        (imagenet / "val" / name).rmdir()
    with pytest.raises(ValueError, match="imagenet/val holds no folder a class"):
        listed(imagenet, "validation")
    assert len(listed(imagenet, "train")[1]) == 23


def test_a_folder_without_classes(tmp_path):
    for number in range(2):
        write_image(tmp_path / "val" / f"ILSVRC2012_val_{number}.JPEG", "red")
    with pytest.raises(ValueError, match=r"No image was found as .*<class>/<image>"):
        listed(tmp_path / "val", "validation")


def test_conversion_names_what_is_damaged_and_keeps_the_rest(imagenet, tmp_path):
    output = str(tmp_path / "out")
    manifests = conversion_job.convert_splits(
        Conversion(
            annotations.Source(videos=str(imagenet)),
            "image_folder",
            output,
            ("train", "validation"),
            Settings(**catalog.USUAL_SETTINGS["image_folder"]),
            num_shards=2,
        )
    )
    failures = {failure["key"]: failure["cause"] for failure in manifests["train"]["failures"]}
    assert set(failures) == {
        f"train/{CLASSES[0]}/cut.JPEG",
        f"train/{CLASSES[2]}/empty.JPEG",
    }
    assert all("damaged" in cause or "empty" in cause for cause in failures.values())
    index = split_index.load_index(output, "train")
    assert verification.check_split(index)[1] == []
    assert (index.num_frames == 1).all() and (index.heights == 40).all()
    for place, key in enumerate(index.keys):
        kept = (imagenet / key).read_bytes()
        (frame,) = split_index.read_video(index, place).frames
        assert (frame == kept) == (not key.endswith(("cmyk.JPEG", "png.JPEG")))
