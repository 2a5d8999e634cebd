"""Inflation: a clip that stands still gives what the 2D network gives for its image."""

import h5py
import keras
import numpy as np
import pytest
from keras import ops

import keras_rms.models
from keras_rms.checkpoints import inflate
from keras_rms.checkpoints.inflation import inflated

NUM_FRAMES, CENTRE = 21, 10  # nine kernels of length 3 reach nine frames: the centre sees no end
BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}


@pytest.fixture(scope="module")
def resnet():
    keras.utils.set_random_seed(0)
    network = keras.applications.ResNet50(weights=None, include_top=False)
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Scales so that sixteen residual branches add up to no more than some units.
            layer.gamma.assign(rng.uniform(0.2, 0.6, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
            layer.moving_mean.assign(rng.normal(0, 0.3, layer.beta.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.beta.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape))
    # The first kernel takes values up to 150.
    first = network.get_layer("conv1_conv")
    first.kernel.assign(first.kernel / 60)
    first.bias.assign(first.bias / 4)
    return network


@pytest.fixture(scope="module")
def weights_file(resnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("image network") / "resnet50.weights.h5"
    resnet.save_weights(path)
    return path


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(2).uniform(0, 255, (64, 96, 3)).astype("float32")


def normalized(image):
    return (image / 255 - 0.45) / 0.225


def clip_of(image):
    return np.tile(normalized(image), (1, NUM_FRAMES, 1, 1, 1)).astype("float32")


def twin(resnet, image):
    """The stages' outputs of the 2D network with each stage's stride on its 3x3 convolution.

    Around the image is what is around ours: grey, where Keras's network has the mean colour.
    """

    def conv_bn(x, unit, stride=1, margin=0):
        conv, bn = (resnet.get_layer(f"{unit}_{role}") for role in ("conv", "bn"))
        x = ops.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
        return bn(ops.conv(x, conv.kernel, stride, "valid") + conv.bias, training=False)

    grey = np.full((1, 70, 102, 3), 255 * 0.45, "float32")
    grey[0, 3:-3, 3:-3] = image
    x = keras.applications.resnet.preprocess_input(grey)
    x = ops.relu(conv_bn(x, "conv1", 2))
    x = ops.max_pool(ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), 3, 2)
    outputs = {}
    for stage, blocks in BLOCKS.items():
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_block{block}", 2 if stage > 2 and block == 1 else 1
            branch = ops.relu(conv_bn(x, f"{name}_1"))
            branch = ops.relu(conv_bn(branch, f"{name}_2", stride, 1))
            shortcut = conv_bn(x, f"{name}_0", stride) if block == 1 else x
            x = ops.relu(shortcut + conv_bn(branch, f"{name}_3"))
        outputs[stage] = ops.convert_to_numpy(x)[0]
    return outputs


def stages(network, clip, prefix=""):
    names = {stage: f"{prefix}res{stage}_block{BLOCKS[stage] - 1}_relu" for stage in BLOCKS}
    probe = keras.Model(network.input, {n: network.get_layer(n).output for n in names.values()})
    outputs = probe(clip, training=False)
    return {stage: ops.convert_to_numpy(outputs[name])[0] for stage, name in names.items()}


def check(received, expected):
    error = np.abs(received - expected).max() / np.abs(expected).max()
    assert received.shape == expected.shape and np.std(expected) > 0
    assert error < 1e-4, error


@pytest.mark.slow
def test_slow_only_of_a_still_clip(resnet, weights_file, image):
    shape = (None, None, None, 3)
    imported = inflate("slow_only_50", weights_file, num_classes=5, input_shape=shape)
    assert imported.model.output_shape == (None, 5) and not imported.has_classifier
    received, expected = stages(imported.model, clip_of(image)), twin(resnet, image)
    for stage in (2, 3):
        for frame in received[stage]:
            check(frame, expected[stage])
    for stage in (4, 5):
        check(received[stage][CENTRE], expected[stage])
    # Before any stride in question it is Keras's own network too, away from the border's colour.
    x = keras.applications.resnet.preprocess_input(image[None].copy())
    probe = keras.Model(resnet.input, resnet.get_layer("conv2_block3_out").output)
    own = ops.convert_to_numpy(probe(x, training=False))[0]
    inside = (slice(6, -6), slice(6, -6))
    check(received[2][CENTRE][inside], own[inside])


@pytest.mark.slow
def test_slow_pathway_of_a_still_clip(resnet, weights_file, image):
    shape = (None, None, None, 3)
    model = inflate("slow_fast_50_8x8", weights_file, num_classes=5, input_shape=shape).model
    clip = np.repeat(clip_of(image), 4, axis=1)
    received, expected = stages(model, clip, "slow_"), twin(resnet, image)
    for stage in BLOCKS:
        check(received[stage][CENTRE], expected[stage])


def test_kernel_by_hand():
    kernel = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)
    values = inflated(kernel, (3, 2, 3, 6, 5))
    for frame in values:
        np.testing.assert_allclose(frame[:, :, :4], kernel / 3)
        assert not frame[:, :, 4:].any()


def test_names_of_other_networks():
    with pytest.raises(ValueError, match=r"`name` must be.*Received: name='slow_only_34'"):
        inflate("slow_only_34", "x.weights.h5")


@pytest.mark.parametrize("name", ["absent.keras", "absent.weights.h5", "absent.h5", "x.txt"])
def test_absent_files(name):
    with pytest.raises(ValueError, match=name):
        inflate("slow_only_50", name)


def test_a_damaged_file(tmp_path):
    path = tmp_path / "damaged.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"damaged\.h5 cannot be read"):
        inflate("slow_only_50", path)


def test_files_of_another_network(tmp_path, weights_file):
    with pytest.raises(ValueError, match=r"ResNet101. It lacks: conv4_block10_1_bn, .* more"):
        inflate("slow_only_101", weights_file)
    keras_rms.models.ResNet2D(18, width=8).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=r"lacks: conv1_bn.*has beside them: head_dense"):
        inflate("slow_only_50", tmp_path / "other.weights.h5")


@pytest.mark.slow
def test_wrong_shapes(tmp_path):
    inputs = keras.Input((64, 64, 4))
    gray = keras.applications.ResNet50(weights=None, include_top=False, input_tensor=inputs)
    gray.save_weights(tmp_path / "four.weights.h5")
    with pytest.raises(ValueError, match=r"does not fit slow_only_50: conv1_conv has"):
        inflate("slow_only_50", tmp_path / "four.weights.h5")


@pytest.mark.slow
def test_kinds_of_files(tmp_path, resnet, weights_file):
    """The whole network and the layout that Keras publishes give what the weights file gives."""
    resnet.save(tmp_path / "net.keras")
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in resnet.layers]
        for layer in resnet.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights):
                group[name] = ops.convert_to_numpy(weight)
    expected = inflate("slow_only_50", weights_file, num_classes=5).model
    for name in ("net.keras", "net.h5"):
        received = inflate("slow_only_50", tmp_path / name, num_classes=5).model
        for a, b in zip(received.layers, expected.layers):
            if a.name != "head_dense":
                for one, other in zip(a.get_weights(), b.get_weights()):
                    np.testing.assert_array_equal(one, other)
