"""scripts/examples: what would mislead, or end a training without its result, is refused before."""

import command_runner
import numpy as np
import pytest
import video_files
from example_files import EXAMPLES, module, write_arrays
from paths import ROOT
from PIL import Image


def error_of(script, *words):
    """The paragraph that an example refuses its flags with."""
    return command_runner.run(EXAMPLES / f"{script}.py", *words, status=1).error


def test_classes_that_are_only_tested_are_refused_by_name():
    check = module("arrays").check_classes
    check(np.array(["a", "b"]), np.array(["b"]))
    with pytest.raises(ValueError, match=r"1 have test examples only, c for one: leave them out"):
        check(np.array(["a", "b"]), np.array(["a", "c"]))
    with pytest.raises(ValueError, match=r"2 have test examples only, 1 for one"):
        check(np.array([[0], [2]]), np.array([[3], [1], [3], [2]]))
    with pytest.raises(ValueError, match=r"two classes at least\. Received: 7 alone"):
        check(np.array([7, 7]), np.array([7]))


def test_arrays_of_another_form_are_refused():
    check, form = module("arrays").check, ("height", "width", "3")
    images, labels = np.zeros((2, 4, 6, 3), "uint8"), np.array([0, 1])
    check("it", form, (images, labels), (images, labels[:, None]))
    for other in (images[..., :1], images / 255, images[None], images[:0], images[:1]):
        with pytest.raises(ValueError, match=r"it must have examples .* uint8 \(examples, height"):
            check("it", form, (images, labels), (other, labels))


def test_damaged_arrays_are_refused_with_their_file(tmp_path):
    from_npz = module("arrays").from_npz
    path = write_arrays(tmp_path / "images.npz", (4, 6, 8, 3), (2, 6, 8, 3))
    (_, labels), _ = from_npz(str(path))
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[300] ^= 255  # a pixel: the archive has a sum of them
    np.savez(tmp_path / "part.npz", x_train=[1])
    np.savez(tmp_path / "objects.npz", **dict.fromkeys(np.load(path), np.array([None])))
    others = [(tmp_path / name).read_bytes() for name in ("part.npz", "objects.npz")]
    for content in (b"", whole[:-40], bytes(flipped), *others):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"images\.npz is damaged, or no"):
            from_npz(str(path))


@pytest.mark.parametrize(
    ("names", "image", "message"),
    [
        (("a", "b"), np.full((4, 6), 40_000, "uint16"), "more than 8 bits a channel"),
        (("a", "b", "c"), np.zeros((4, 6), "uint8"), "test examples only, c for one"),
    ],
)
def test_folders_of_images_that_would_mislead_are_refused(tmp_path, names, image, message):
    for split, classes in (("train", names[:2]), ("validation", names)):
        for name in classes:
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(image).save(tmp_path / split / name / "0.PNG")
    assert message in error_of("image_classification", f"--data={tmp_path}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--survival=0.3", "--survival has no effect without --residual_drop"),
        ("--batch_size=4 --rms_stage=res5", "has no stage res5"),
        ("--data=absent.npz", "No such file or directory: 'absent.npz'"),
        ("--data=other_size.npz", "(6, 8, 3) to train on and (8, 8, 3) to test"),
    ],
)
def test_flags_of_images_are_looked_at_before_the_training(tmp_path, words, message):
    write_arrays(tmp_path / "images.npz", (4, 6, 8, 3), (2, 6, 8, 3))
    write_arrays(tmp_path / "other_size.npz", (4, 6, 8, 3), (2, 8, 8, 3))
    words = f"--data=images.npz {words}".split()
    script = EXAMPLES / "image_classification.py"
    assert message in command_runner.run(script, *words, cwd=tmp_path, status=1).error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num_frames=3", "must be that of the clips in clips.npz, 2, or left out"),
        ("--num_frames=2 --short_side=9", "clips.npz, 8, or left out"),
        ("--fold=2", "--fold has no effect on clips of an .npz file"),
    ],
)
def test_clips_in_arrays_are_taken_as_they_are(tmp_path, words, message):
    write_arrays(tmp_path / "clips.npz", (4, 2, 8, 9, 3), (2, 2, 8, 9, 3))
    script, words = EXAMPLES / "video_classification.py", words.split()
    words += ["--data=clips.npz", "--crop_size=8", "--width=4"]
    assert message in command_runner.run(script, *words, cwd=tmp_path, status=1).error


LISTED = ("0.mp4,a,1", "1.mp4,b,1", "2.mp4,a,2", "3.mp4,b,2")


@pytest.mark.parametrize(
    ("lines", "words", "message"),
    [
        (["0.mp4,a"], "", "5 lines, 1 unfilled [6]"),
        ([], "--batch_size=3", "`batch_size` must be at most the number of training examples, 2"),
        (["gone.mp4,b,2"], "", "1 videos of the list are not there, "),
        (["2.mp4,a,1"], "", "2.mp4 is in the fold 1 and in another"),
        ([], "--crop_size=129", "at most the frames' short side, 128"),
        ([], "", "0.mp4 cannot be read: "),
    ],
)
def test_a_list_is_looked_at_before_hours_of_decoding(tmp_path, lines, words, message):
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_text("no video")
    # A spreadsheet's mark before the first name, and spaces, do no harm.
    text = "\n".join(["\ufeffpath, label, fold", *LISTED, *lines])
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    words = [f"--data={tmp_path / 'list.csv'}", "--batch_size=2", "--width=4", *words.split()]
    assert message in error_of("video_classification", *words)


# The example's flags are absl's: they need a process of their own.
DECODING = f"""
import sys
sys.path[:0] = [{str(EXAMPLES)!r}, {str(ROOT / "tests" / "support")!r}]
import video_classification as example
from absl import flags
from pathlib import Path
import numpy as np
flags.FLAGS(["", "--data=x.csv", "--num_frames=4", "--short_side=64"])
upright, turned = (example._decode(Path(path)) for path in sys.argv[1:])
assert upright.shape == (4, 64, 96, 3), upright.shape
np.testing.assert_array_equal(turned, np.rot90(upright, -1, (1, 2)))  # clockwise
import video_files
assert [video_files.frame_number(frame) for frame in upright] == [0, 3, 6, 9]
example._count_packets = lambda path: 7
np.testing.assert_array_equal(example._decode(Path(sys.argv[1])), upright)
"""


def test_frames_are_upright_and_at_equal_distances_though_packets_are_miscounted(tmp_path):
    paths = [tmp_path / name for name in ("upright.mp4", "turned.mp4")]
    for path in paths:
        video_files.write_numbered(path, 10)
    video_files.set_display_matrix(paths[1], 0, 1, -1, 0)
    command_runner.run("-c", DECODING, *paths)


SAVING = f"""
import json, sys
sys.path.insert(0, {str(EXAMPLES)!r})
import keras, numpy as np, training_options
from absl import flags
from pathlib import Path
flags.FLAGS(["", "--epochs=1", "--batch_size=4", "--output=new/it.json", "--save_model=it.keras"])
inputs = keras.Input((4, 6, 3), dtype="uint8")
pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
examples, labels = np.zeros((4, 4, 6, 3), "uint8"), np.array([0, 1, 0, 1])
batches = training_options.training_batches(examples, labels, 2, lambda x, rng: x)

def full(path):
    Path(path).write_text("a part")
    raise OSError(28, "No space left on device")

def fit_and_read():
    try:
        training_options.fit(model, batches, {{"test": (examples, labels)}})
    except (OSError, ValueError) as error:
        return str(error), json.loads(Path("new/it.json").read_text())

model.save = full
said, result = fit_and_read()
assert said == "[Errno 28] No space left on device: 'it.keras'", said
assert result["test"]["examples"] == 4 and [x.name for x in Path().iterdir()] == ["new"]
model.layers[-1].bias.assign([np.nan, 0])
said, result = fit_and_read()
assert "Give a lower --learning_rate" in said, said
assert result["diverged"] and "test" not in result
"""


def test_the_result_is_kept_though_the_network_is_lost_or_diverges(tmp_path):
    command_runner.run("-c", SAVING, cwd=tmp_path)


def test_a_picture_is_not_drawn_for_a_place_where_it_cannot_be(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    words = [f"--result={tmp_path / 'result.json'}"]
    said = error_of("training_curves", *words, f"--picture={tmp_path}")
    assert "--picture must name a file, in a folder that can be written" in said
    said = error_of("training_curves", *words, f"--picture={tmp_path / 'curves.bmp'}")
    assert "--picture must end in .png or .svg or .pdf or .jpg" in said
    said = error_of("training_curves", *words, f"--picture={tmp_path / 'curves.svg'}")
    assert "result.json cannot be drawn as a result of --output: KeyError 'history'" in said


def test_an_example_does_not_train_for_a_result_that_cannot_be_written(tmp_path):
    for words, named in (
        (f"--output={tmp_path}", "--output must name a file"),
        (f"--save_model={tmp_path / 'net'}", "--save_model must end in .keras"),
        (f"--save_model={tmp_path / 'net.KERAS'}", "--save_model must end in .keras"),
    ):
        assert named in error_of("image_classification", "--data=absent.npz", words)
