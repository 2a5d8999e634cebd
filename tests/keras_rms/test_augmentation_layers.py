"""Augmentation against Pillow and the standard library: a clip is changed as one tall picture."""

import colorsys
import itertools

import keras
import numpy as np
import pytest
from layer_checks import check_layer, check_refused
from layer_reference import is_nothing_done

from keras_rms.augmentation import ColorJitter, RandAugment, RandomErasing, augmented, colors
from keras_rms.augmentation.rand_augment import changes

# What is drawn is counted on TensorFlow alone: each operation is compiled anew on JAX.
any_backend = pytest.mark.any_backend

FRAMES, HEIGHT, WIDTH = 3, 21, 32


def clip(seed=0, frames=FRAMES, height=HEIGHT, width=WIDTH):
    """uint8 frames of ramps and noise; each channel has another range, none of them all levels."""
    rng = np.random.default_rng(seed)
    shape = (frames, height, width, 3)
    ramp = np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)
    scale = np.array([150, 90, 200])
    return (20 + ramp * scale + rng.integers(0, 30, shape)).astype("uint8")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def changed(name, frames, sign, magnitude=9.0, fill=115.0):
    frames, sign = (keras.ops.convert_to_tensor(x, "float32") for x in (frames, sign))
    return np.round(array(changes(magnitude, fill)[name](frames, sign)))


def pillow(name, picture, sign, m=0.9):
    """The same by Pillow, of one picture."""
    from PIL import Image, ImageEnhance, ImageOps

    height, width = picture.shape[:2]
    image, fill = Image.fromarray(picture), (115, 115, 115)

    def moved(*matrix):
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)

    shift = sign * 150 / 331 * m
    enhanced = {"color": "Color", "contrast": "Contrast"}
    enhanced |= {"brightness": "Brightness", "sharpness": "Sharpness"}
    if name in enhanced:
        result = getattr(ImageEnhance, enhanced[name])(image).enhance(1 + sign * 0.9 * m)
    else:
        result = {
            "identity": lambda: image,
            "auto_contrast": lambda: ImageOps.autocontrast(image),
            "equalize": lambda: ImageOps.equalize(image),
            "rotate": lambda: image.rotate(sign * 30 * m, fillcolor=fill),
            "solarize": lambda: ImageOps.solarize(image, round(256 * (1 - m))),
            "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * m)),
            "shear_x": lambda: moved(1, sign * 0.3 * m, 0, 0, 1, 0),
            "shear_y": lambda: moved(1, 0, 0, sign * 0.3 * m, 1, 0),
            "translate_x": lambda: moved(1, 0, shift * width, 0, 1, 0),
            "translate_y": lambda: moved(1, 0, 0, 0, 1, shift * height),
        }[name]()
    return np.asarray(result)


OF_ALL_LEVELS = ("auto_contrast", "equalize", "contrast", "color", "brightness")
EXACT = ("identity", "equalize", "posterize", "translate_x", "translate_y")


@any_backend
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", changes(9.0, 0.0))
def test_each_change_is_pillow_s(name, sign):
    frames = clip()
    found = changed(name, frames, sign)
    if name in OF_ALL_LEVELS:
        expected = pillow(name, frames.reshape(-1, WIDTH, 3), sign).reshape(frames.shape)
    else:
        expected = np.stack([pillow(name, frame, sign) for frame in frames])
    difference = np.abs(found - expected.astype("float64"))
    if name in EXACT:
        assert difference.max() == 0
    elif name == "solarize":
        # Ours inverts from 25.6 on, Pillow takes whole numbers.
        assert (difference[frames != 25] == 0).all()
    elif name in ("rotate", "shear_x", "shear_y"):
        # Pillow counts in fixed point: a pixel on an edge may be its neighbour.
        assert (difference > 0).any(axis=-1).mean() < 0.01
    else:
        # Pillow cuts off what we round, and once more where it rounds the grey.
        assert difference.max() <= 2
    assert name == "identity" or (found != frames).any()


def test_no_magnitude_is_no_change():
    frames = clip()
    for name in set(changes(0.0, 0.0)) - {"auto_contrast", "equalize"}:
        np.testing.assert_array_equal(changed(name, frames, 1.0, magnitude=0.0), frames, name)


def test_a_channel_of_one_level_stays():
    frames = np.full((2, 4, 5, 3), [7, 0, 255], "uint8")
    for name in ("auto_contrast", "equalize"):
        np.testing.assert_array_equal(changed(name, frames, 1.0), frames)


@any_backend
@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.25])
def test_the_hue_is_that_of_colorsys(shift):
    frames = clip(height=5, width=6).astype("float64")
    frames[0, 0, 0], frames[0, 0, 1] = 80, (255, 0, 0)
    found = array(colors.hue(keras.ops.convert_to_tensor(frames, "float32"), shift))

    def turned(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
        return colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)

    expected = 255 * np.apply_along_axis(turned, -1, frames)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_factors_are_uniform_and_each_clip_s_own():
    levels = np.full((400, 2, 3, 1, 3), 100.0, "float32")
    y = array(ColorJitter(brightness=0.4, seed=0)(levels, training=True))
    assert (y == y[:, :1, :1, :, :1]).all()
    factors = y[:, 0, 0, 0, 0].astype("float64") / 100
    assert 0.6 <= factors.min() < 0.62 and 1.38 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 4 * 0.8 / (12 * 400) ** 0.5
    # No factor is below 0.
    strong = array(ColorJitter(brightness=2.0, seed=0)(levels[:50], training=True))
    assert strong.min() >= 0 and strong.max() == 255


@any_backend
def test_jitter_is_its_parts_in_one_of_their_orders():
    layer = ColorJitter(0.5, 0.6, 0.7, 0.2, seed=1)
    batch = np.stack([clip(number) for number in range(20)]).astype("float32")
    seen = set()
    twin = ColorJitter(0.5, 0.6, 0.7, 0.2, seed=1)
    draws = array(twin.draw(batch, 2, 4))
    low = np.array([0.5, 0.4, 0.3, -0.2])
    amounts = low + draws[:, 0] * (np.array([1.5, 1.6, 1.7, 0.2]) - low)
    names = ("brightness", "contrast", "saturation", "hue")
    jittered = array(layer(batch, training=True))
    for one, result, own in zip(batch, jittered, amounts):
        for order in itertools.permutations(range(4)):
            expected = keras.ops.convert_to_tensor(one)
            for place in order:
                expected = getattr(colors, names[place])(expected, float(own[place]))
            if np.abs(array(expected) - result).max() < 0.01:
                seen.add(order)
                break
        else:
            raise AssertionError("no order of the four changes gives the clip")
    assert len(seen) > 8


@any_backend
def test_each_clip_has_changes_of_its_own_and_all_its_frames_the_same():
    """One still picture, many times: all frames of a clip stay equal, the clips do not."""
    still = np.broadcast_to(clip(frames=1), (30, 3, HEIGHT, WIDTH, 3)).copy()
    y = array(RandAugment(2, 9, seed=0)(still, training=True))
    assert y.dtype == "uint8" and (y == y[:, :1]).all()
    assert len({one.tobytes() for one in y}) > 20
    again = array(RandAugment(2, 9, seed=0)(still, training=True))
    np.testing.assert_array_equal(y, again)


def test_all_changes_are_equally_frequent():
    """One change a clip: which, is seen from the picture."""
    picture = clip(frames=1)[0]
    seen = {
        changed(name, picture[None], sign)[0].astype("uint8").tobytes(): name
        for name in changes(9.0, 0.0)
        for sign in (-1.0, 1.0)
    }
    count = 210
    y = array(RandAugment(1, 9, fill=115, seed=2)(np.stack([picture] * count), training=True))
    found = [seen[one.tobytes()] for one in y]
    for name in changes(9.0, 0.0):
        assert abs(found.count(name) - count / 14) < 4 * (count / 14) ** 0.5, name
    # Both signs.
    turned = {one.tobytes() for one, name in zip(y, found) if name == "rotate"}
    assert len(turned) == 2


def boxes(probability, count, **options):
    """Top, left, height and width of the box in each clip, None for those without."""
    batch = np.ones((count, 2, 40, 60, 2), "float32")
    layer = RandomErasing(probability, value=-3.0, seed=0, **options)
    erased = array(layer(batch, training=True))
    assert set(np.unique(erased)) <= {-3.0, 1.0}
    mask = erased == -3.0
    assert (mask == mask[:, :1, :, :, :1]).all()
    found = []
    for one in mask[:, 0, :, :, 0]:
        rows, columns = one.any(1).nonzero()[0], one.any(0).nonzero()[0]
        assert one.sum() == len(rows) * len(columns)
        found.append((rows[0], columns[0], len(rows), len(columns)) if len(rows) else None)
    return found


def test_boxes_have_the_area_and_the_aspect_that_were_asked_for():
    found = [box for box in boxes(1.0, 300, area=(0.05, 0.2), aspect=(0.5, 4.0)) if box]
    assert len(found) > 290
    top, left, height, width = np.array(found).T
    area, aspect = height * width / 2400, height / width
    assert 0.04 < area.min() < 0.06 and 0.19 < area.max() < 0.21
    # A half of a box's sides is lost or won by rounding.
    assert 0.45 < aspect.min() < 0.55 and 3 < aspect.max() < 4.4
    assert abs(area.mean() - 0.125) < 4 * 0.15 / (12 * 300) ** 0.5 + 0.005
    assert abs(np.log(aspect).mean() - np.log(2) / 2) < 0.15
    assert (top + height).max() == 40 and (left + width).max() == 60
    assert top.min() == left.min() == 0


def test_the_share_of_erased_clips_within_four_sigma():
    erased = [box is not None for box in boxes(0.3, 500)]
    assert abs(np.mean(erased) - 0.3) < 4 * (0.3 * 0.7 / 500) ** 0.5
    assert not any(box for box in boxes(0.0, 20))


def test_a_box_that_never_fits_leaves_the_clip():
    assert not any(box for box in boxes(1.0, 20, area=(0.9, 1.0), aspect=(9.0, 9.0)))


LAYERS = [
    (ColorJitter, {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1, "seed": 0}),
    (RandAugment, {"num_ops": 1, "magnitude": 4.0, "fill": 7.0, "seed": 0}),
    (
        RandomErasing,
        {"probability": 1.0, "area": [0.1, 0.2], "aspect": [0.5, 2.0], "value": 9.0, "seed": 0},
    ),
]


@any_backend
@pytest.mark.parametrize(("layer_class", "arguments"), LAYERS, ids=lambda x: str(x)[-20:])
def test_layer(layer_class, arguments, tmp_path):
    check_layer(layer_class, arguments, (2, 2, 6, 5, 3), tmp_path, keeps_dtype=True)
    batch = np.stack([clip(), clip(1)])
    assert is_nothing_done(layer_class(**arguments), batch, training=False)
    for dtype in ("uint8", "float32"):
        y = layer_class(**arguments, dtype="mixed_bfloat16")(batch.astype(dtype), training=True)
        assert keras.backend.standardize_dtype(y.dtype) == dtype
        assert y.shape == batch.shape and (array(y) != batch).any()
    # An image is a clip of one frame.
    images = array(layer_class(**arguments)(batch[:, 0], training=True))
    np.testing.assert_array_equal(
        images, array(layer_class(**arguments)(batch[:, :1], training=True))[:, 0]
    )


@any_backend
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sizes are always known")
@pytest.mark.parametrize("layer_class", [ColorJitter, RandAugment, RandomErasing])
def test_sizes_that_are_not_known_when_the_graph_is_built(layer_class):
    import tensorflow as tf

    arguments = next(each for own, each in LAYERS if own is layer_class)
    batch, layer = np.stack([clip(), clip(1)]), layer_class(**arguments)
    spec = tf.TensorSpec((None, None, None, None, 3), tf.uint8)
    y = tf.function(lambda x: layer(x, training=True), input_signature=[spec])(batch)
    expected = array(layer_class(**arguments)(batch, training=True))
    assert (y.numpy() != expected).mean() < 1e-3
    assert np.abs(y.numpy().astype(int) - expected).max() <= 1 or layer_class is RandAugment


def test_nothing_to_jitter():
    assert is_nothing_done(ColorJitter(), np.stack([clip()]), training=True)


@pytest.mark.parametrize(
    ("layer_class", "name", "value"),
    [
        *[(ColorJitter, name, -0.1) for name in ("brightness", "contrast", "saturation", "hue")],
        (ColorJitter, "hue", 0.6),
        (RandAugment, "num_ops", 0),
        (RandAugment, "num_ops", 1.5),
        (RandAugment, "magnitude", 11),
        (RandAugment, "magnitude", -1),
        (RandAugment, "fill", "grey"),
        (RandomErasing, "probability", 1.1),
        (RandomErasing, "area", (0.5, 0.2)),
        (RandomErasing, "area", (0.0, 0.2)),
        (RandomErasing, "area", (0.5, 1.2)),
        (RandomErasing, "area", 0.3),
        (RandomErasing, "aspect", (0.5,)),
        (RandomErasing, "value", None),
    ],
)
def test_bad_arguments(layer_class, name, value):
    check_refused(layer_class, name, **{name: value})


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"`value` must be a whole number.*Received: value=-3"):
        RandomErasing(value=-3)(np.stack([clip()]), training=True)
    with pytest.raises(ValueError, match=r"axis -1"):
        RandAugment()(np.ones((2, 5, 5, 1), "uint8"))


def small_network(dtype="uint8"):
    inputs = keras.Input((None, None, None, 3), dtype=dtype, name="clips")
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x), name="small")


@pytest.mark.slow
@any_backend
def test_the_model_augments_in_training_only_and_shares_the_weights():
    network = small_network()
    settings = {"color_jitter": (0.4,), "rand_augment": (1, 9), "random_erasing": 0.5}
    model = augmented(network, **settings, seed=4)
    names = ["color_jitter", "rand_augment", "random_erasing"]
    layers = [model.get_layer(name) for name in names]
    assert [layer.name for layer in model.layers[1:]] == [*names, "small"]
    assert [layer.seed for layer in layers] == [4, 5, 6]
    jitter = layers[0]
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.4, 0.4, 0.4, 0)
    assert layers[1].fill == layers[2].value == 115
    batch = np.stack([clip(), clip(1)])
    np.testing.assert_array_equal(array(model(batch)), array(network(batch)))
    assert (array(model(batch, training=True)) != array(network(batch))).any()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = array(network.get_layer("head").kernel)
    model.train_on_batch(batch, np.zeros((2, 2)))
    assert (array(network.get_layer("head").kernel) != before).any()
    assert augmented(network) is network
    of_four = augmented(network, color_jitter=(0.1, 0.2, 0.3, 0.4)).get_layer("color_jitter")
    assert (of_four.contrast, of_four.hue) == (0.2, 0.4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"color_jitter": (0.1, 0.2)}, "`color_jitter` must be one strength.*Received"),
        ({"color_jitter": (0.1, 0.2, 0.3, 0.6)}, "`color_jitter` .*at most 0.5.*Received"),
        ({"color_jitter": 0.4}, "`color_jitter` must be a tuple.*Received: color_jitter=0.4"),
        ({"rand_augment": (2,)}, "`rand_augment` must be a whole number.*Received"),
        ({"rand_augment": (1.5, 9)}, "`rand_augment` must be a whole number.*Received"),
        ({"rand_augment": (0, 9)}, "`rand_augment` must be a whole number.*Received"),
        ({"rand_augment": (2, 11)}, "`rand_augment` must be a whole number.*Received"),
        ({"random_erasing": 2}, "`random_erasing` must be a number in"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        augmented(small_network(), **settings)


def test_a_network_of_normalised_frames_is_refused():
    with pytest.raises(ValueError, match=r"`network` must take uint8.*clips.*float32"):
        augmented(small_network("float32"), random_erasing=0.5)
