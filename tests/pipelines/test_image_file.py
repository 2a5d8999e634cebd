"""Files of images as videos of one frame: what stays, what is changed, what is refused."""

import numpy as np
import pytest
import tensorflow as tf
import video_files
from PIL import Image

from pipelines.frames import any_file, image_file, video_file
from pipelines.input import augmentation, views_of_frames
from pipelines.system import limits


def coded(height=30, width=41):
    """Red grows with x and green with y."""
    image = np.full((height, width, 3), 90, np.uint8)
    image[..., 0] = np.linspace(0, 255, width).round()
    image[..., 1] = np.linspace(0, 255, height).round()[:, None]
    return image


def saved(path, array, mode="RGB", format="JPEG", **options):
    image = Image.fromarray(array) if mode == "RGB" else Image.fromarray(array).convert(mode)
    if format == "JPEG":
        options = {"quality": 95, "subsampling": "4:4:4", **options}
    image.save(path, format, **options)
    return str(path)


def decoded(frame):
    """As the input pipeline decodes it."""
    box = tf.concat([[0, 0], tf.io.extract_jpeg_shape(frame)[:2]], 0)
    return augmentation.decode_frames(tf.constant([frame]), box)[0].numpy()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:0"}])
def test_a_jpeg_that_keeps_its_size_keeps_every_byte(tmp_path, mode, options):
    path = saved(tmp_path / "x.JPEG", coded(), mode, **options)
    clip = any_file.read_frames(path, fps=25, short_side=None, quality=4, upscale=True)
    assert clip == ([open(path, "rb").read()], 30, 41, 25.0, ())
    image = decoded(clip.frames[0])
    assert image.shape == (30, 41, 3)
    if mode == "L":  # gray in all three channels
        assert (image == image[..., :1]).all() and image.std() > 20


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path / "x.JPEG", coded(), "CMYK")
    assert Image.open(path).mode == "CMYK"
    image = decoded(image_file.read_frames(path).frames[0])
    assert abs(image.astype(int) - coded()).max() < 12


def test_a_png_named_jpeg_as_imagenet_has_one(tmp_path):
    path = saved(tmp_path / "n02105855_2933.JPEG", coded(), format="PNG")
    image = decoded(any_file.read_frames(path).frames[0])
    assert abs(image.astype(int) - coded()).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "1", "LA", "RGBA"])
def test_every_kind_of_png(tmp_path, mode):
    path = saved(tmp_path / "x.png", coded(), mode, format="PNG")
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert abs(decoded(image_file.read_frames(path).frames[0]) - expected).max() <= 1


def test_orientation_in_exif_is_ignored_alike_in_copies_and_scaled(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    path = saved(tmp_path / "x.jpg", coded(), exif=exif.tobytes())
    assert image_file.read_frames(path)[1:3] == (30, 41)
    assert image_file.read_frames(path, short_side=15)[1:3] == (15, 21)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"short_side": 15}, (15, 21)),
        ({"short_side": 60}, (60, 82)),
        ({"short_side": 60, "upscale": False}, (30, 41)),
        ({"short_side": 30}, (30, 41)),
    ],
)
@pytest.mark.parametrize("kind", ["x.jpg", "x.png"])
def test_scaling(tmp_path, options, size, kind):
    path = saved(tmp_path / kind, coded(), format="PNG" if kind.endswith("png") else "JPEG")
    clip = image_file.read_frames(path, **options)
    image = decoded(clip.frames[0])
    assert (clip.height, clip.width) == size == image.shape[:2]
    # The colours at the place of each pixel's centre.
    y, x = ((np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(size, (30, 41)))
    inside = np.s_[2:-2, 2:-2]
    expected = np.stack(np.broadcast_arrays(x * 255 / 40, y[:, None] * 255 / 29), -1)
    assert abs(image[inside][..., :2] - expected[inside]).max() < 6


def test_quality_is_the_quantiser(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    path = saved(tmp_path / "x.png", noise, format="PNG")
    frames = {q: image_file.read_frames(path, quality=q).frames[0] for q in (1, 2, 4, 31)}
    errors = {q: abs(decoded(frame).astype(int) - noise) for q, frame in frames.items()}
    assert errors[1].max() <= 1
    assert sorted(frames, key=lambda q: -len(frames[q])) == [1, 2, 4, 31]
    assert sorted(errors, key=lambda q: errors[q].mean()) == [1, 2, 4, 31]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
def test_a_cut_image_is_damaged(tmp_path, kind, share):
    path = tmp_path / "x.jpg"
    saved(path, np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8), format=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(video_file.VideoError, match="damaged or not an image"):
        any_file.read_frames(str(path))


@pytest.mark.parametrize("cut", range(1, 12))
def test_what_is_copied_can_be_decoded(tmp_path, cut):
    """An image that lacks its last bytes is refused, or TensorFlow reads it too."""
    path = tmp_path / "x.jpg"
    saved(path, coded())
    path.write_bytes(path.read_bytes()[:-cut])
    try:
        frame = image_file.read_frames(str(path)).frames[0]
    except video_file.VideoError:
        return
    assert decoded(frame).shape == (30, 41, 3)


def test_what_is_no_image_is_a_video_or_says_so(tmp_path):
    video = video_files.write_numbered(tmp_path / "video.jpg.mp4", 3)
    assert any_file.read_frames(video) == video_file.read_frames(video)
    text = tmp_path / "x.jpg"
    text.write_text("no image")
    for path, cause in (
        (text, "damaged or not a video"),
        (tmp_path / "none.jpg", "No such file"),
        (tmp_path, "is not a regular file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(video_file.VideoError, match=cause):
            any_file.read_frames(str(path))


def test_a_stream_of_jpegs_stays_a_video(tmp_path):
    frames = [video_files.numbered_frame(number, 48, 64) for number in range(5)]
    content = b"".join(tf.io.encode_jpeg(frame).numpy() for frame in frames)
    (tmp_path / "x.mjpeg").write_bytes(content)
    assert len(any_file.read_frames(str(tmp_path / "x.mjpeg")).frames) == 5


def test_hostile_sizes(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", np.zeros((5, 320, 3), np.uint8), format="PNG")
    assert image_file.read_frames(path)[1:3] == (5, 320)
    with pytest.raises(video_file.VideoError, match="320x5 would become 131072x2048: too large"):
        image_file.read_frames(path, short_side=2048)
    with pytest.raises(video_file.VideoError, match="320x5 would become 65600x1025: too large"):
        image_file.read_frames(path, short_side=1025)
    monkeypatch.setattr(limits, "MAX_PIXELS", 1599)
    with pytest.raises(video_file.VideoError, match="320x5 is more than 1599 pixels"):
        image_file.read_frames(path)
    path = saved(tmp_path / "x.jpg", np.zeros((5, 321, 3), np.uint8), format="JPEG")
    with pytest.raises(video_file.VideoError, match="321x5 is more than 1599 pixels"):
        image_file.read_frames(path)
    monkeypatch.undo()
    with pytest.raises(video_file.VideoError, match="321x5: one side is more than 64 times"):
        image_file.read_frames(path)


def test_more_than_8_bits_are_refused_and_not_cut(tmp_path):
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(tmp_path / "x.png")
    with pytest.raises(video_file.VideoError, match="more than 8 bits"):
        image_file.read_frames(str(tmp_path / "x.png"))


def test_bad_arguments(tmp_path):
    path = saved(tmp_path / "x.jpg", coded())
    for options in ({"quality": 0}, {"short_side": 0}, {"fps": 0}):
        with pytest.raises(ValueError, match="Received"):
            image_file.read_frames(path, **options)


def test_views_of_an_image_in_memory_are_its_centre(tmp_path):
    path = saved(tmp_path / "x.jpg", coded(), quality=100)
    views = views_of_frames(
        image_file.read_frames(path).frames,
        num_clips=1, num_crops=1, num_frames=1, span=1, crop_size=20, short_side=30,
    )  # fmt: skip
    assert views.shape == (1, 1, 20, 20, 3)
    assert abs(views[0, 0].numpy().astype(int) - coded()[5:25, 10:30]).max() <= 4
