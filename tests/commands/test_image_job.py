"""Images through the commands, as a user runs them: from CIFAR-100's file to Table 6."""

import json

import cifar_files
import numpy as np
import pytest
import small_dataset
import warm_children
from command_runner import run as command
from PIL import Image

SMALL = "--width=4 --batch_size=8 --epochs=1 --warmup_epochs=0 --mixing=cutmix".split()

pytestmark = pytest.mark.slow(10)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Records of CIFAR-100, and of Table 6 what a small network makes of its second line."""
    folder = tmp_path_factory.mktemp("images with a space")
    (folder / "datasets").mkdir()
    files = cifar_files.contents(train=32, test=12)
    cifar_files.write_archive(folder / "datasets" / "cifar-100-python.tar.gz", files)
    command(
        "pipelines/convert.py",
        "--dataset=cifar100",
        f"--videos={folder / 'datasets'}",
        "--split=train,validation",
        "--num_shards=2",
        f"--output={folder / 'data' / 'cifar100'}",
    )
    words = [f"--data={folder / 'data'}", f"--output={folder / 'table'}", "--seeds=1"]
    words += ["--table=6", "--lines=2,4", "--model=resnet_20", "--", *SMALL]
    printed = command("scripts/ablate.py", *words, before=warm_children.install).stdout
    run = folder / "table" / "runs" / "cifar100" / "resnet_20" / "rms=mean" / "seed_0"
    return {"folder": folder, "run": run, "printed": printed}


def test_the_table_has_the_line_whose_dataset_is_there_and_the_papers_numbers(job):
    lines = json.loads((job["folder"] / "table" / "table_6.json").read_text())
    assert [len(line["runs"]) for line in lines] == [0, 1, 0, 0]
    assert [line["paper"]["top1"][0] for line in lines] == [74.49, 77.17, 76.81, 77.62]
    assert "[1/1] resnet_20 --rms=mean seed 0" in job["printed"]
    assert "one view of each video" in job["printed"]
    settings = json.loads((job["run"] / "settings.json").read_text())
    assert (settings["padding"], settings["crop_size"], settings["rms"]) == (4, 32, "mean")
    assert settings["evaluation_crop_size"] == settings["evaluation_short_side"] == 32
    assert settings["class_names"] == cifar_files.CLASS_NAMES


def test_evaluation_takes_one_view_and_prediction_on_files_agrees(job):
    command(
        "scripts/evaluate.py", f"--work_dir={job['run']}", f"--output={job['folder'] / 'scores'}"
    )
    summary = json.loads((job["folder"] / "scores" / "validation_1x1.json").read_text())
    assert (summary["videos"], summary["views"], summary["crop_size"]) == (12, "1x1", 32)
    with np.load(job["folder"] / "scores" / "validation_1x1.npz") as arrays:
        keys, scores = arrays["keys"].tolist(), arrays["scores"]
    image = job["folder"] / "five.png"
    Image.fromarray(cifar_files.coded_images(1, 32 + 5)[0]).save(image)
    output = job["folder"] / "predicted.json"
    command("scripts/predict.py", f"--work_dir={job['run']}", f"--json={output}", image)
    expected = scores[keys.index("test/00005")]
    (predicted,) = small_dataset.read_lines(output)
    assert predicted["video"] == str(image)
    for row in predicted["classes"]:
        number = cifar_files.CLASS_NAMES.index(row["class"])
        assert row["probability"] == pytest.approx(expected[number], abs=1e-5)


def test_the_finished_network_takes_images(job):
    import keras

    import keras_rms.models  # noqa: F401

    model = keras.saving.load_model(job["run"] / "model.keras", compile=False)
    assert model.input_shape == (None, None, None, 3)


def test_verification_draws_images_side_by_side(job):
    said = command("pipelines/verify.py", f"--data={job['folder'] / 'data' / 'cifar100'}").stdout
    assert "Everything is as it was written." in said
    sheet = np.asarray(Image.open(job["folder"] / "data" / "cifar100" / "train.png"))
    # Seven classes have images; each row shows four or five different ones, told by their blue.
    rows = sheet.reshape(7, -1, 10, 150, 3)
    middles = rows[:, -50, :, 75, 2]
    assert (middles[:, :4] != middles[:, 1:5]).all() and (middles[:, 5:] == 255).all()


def test_errors_are_one_paragraph(job, tmp_path):
    damaged = tmp_path / "cifar-100-python.tar.gz"
    content = (job["folder"] / "datasets" / damaged.name).read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    words = [f"--videos={tmp_path}", f"--output={tmp_path / 'out'}"]
    result = command("pipelines/convert.py", "--dataset=cifar100", *words, status=1)
    message = " ".join(result.stderr[result.stderr.index("error:") :].split())
    assert "Traceback" not in result.stderr and "is damaged or not CIFAR-100's" in message
