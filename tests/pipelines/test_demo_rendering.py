import numpy as np
import pytest

from pipelines.demo import demo_rendering
from pipelines.demo.demo_rendering import CLASSES, render_video

BRIGHT = 225  # of 255: the object's first colour exceeds it in one channel, no background does


def track(class_name, index):
    """Centre (x, y), spread and number of the object's bright pixels at each frame, in pixels."""
    # Some textures on some other class's shape show no bright pixel at all.
    frames = render_video(
        class_name, split="train", index=index, typical_shape=1, typical_texture=1
    )
    rows = []
    for frame in frames:
        y, x = np.nonzero(frame.max(-1) > BRIGHT)
        rows.append(
            (x.mean(), y.mean(), np.hypot(x.std(), y.std()), len(x)) if len(x) else rows[-1]
        )
    return np.array(rows).T


def turns(values, threshold):
    """How often a curve changes direction, ignoring movements smaller than `threshold`."""
    count, direction, extreme = 0, 0, values[0]
    for value in values[1:]:
        if direction >= 0 and value < extreme - threshold:
            count, direction, extreme = count + (direction > 0), -1, value
        elif direction <= 0 and value > extreme + threshold:
            count, direction, extreme = count + (direction < 0), 1, value
        elif (value - extreme) * direction > 0:
            extreme = value
    return count


def test_video_is_a_function_of_its_arguments():
    arguments = {"split": "train", "index": 3, "seed": 7}
    video = render_video("orbit", **arguments)
    render_video("spin", split="validation", index=1)
    np.testing.assert_array_equal(video, render_video("orbit", **arguments))
    assert video.shape == (75, 72, 96, 3)
    assert video.dtype == np.uint8


@pytest.mark.parametrize("change", [{"split": "validation"}, {"index": 4}, {"seed": 0}])
def test_another_split_index_or_seed_gives_another_video(change):
    arguments = {"split": "train", "index": 3, "seed": 7}
    video = render_video("orbit", **arguments).astype(int)
    other = render_video("orbit", **{**arguments, **change}).astype(int)
    assert np.abs(video - other).mean() > 5


def test_size_and_length_are_free():
    assert render_video(
        "rise", split="train", index=0, width=64, height=50, num_frames=20
    ).shape == (
        20,
        50,
        64,
        3,
    )


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("class_name, sign", [("rise", -1), ("fall", 1)])
def test_rise_and_fall_go_up_and_down(class_name, sign, index):
    _, y, _, _ = track(class_name, index)
    assert sign * (y[-1] - y[0]) > 8


def test_slide_goes_to_either_side():
    ways = []
    for index in range(10):
        x, _, _, _ = track("slide", index)
        assert abs(x[-1] - x[0]) > 8
        ways.append(np.sign(x[-1] - x[0]))
    assert set(ways) == {-1, 1}


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("class_name, power", [("grow", 1), ("shrink", -1)])
def test_grow_and_shrink_change_the_area(class_name, power, index):
    _, _, _, area = track(class_name, index)
    assert (area[-5:].mean() / area[:5].mean()) ** power > 1.3


@pytest.mark.parametrize("index", range(6))
def test_periodic_motions_return(index):
    x, y, _, _ = track("orbit", index)
    assert turns(x, 4) >= 2 or turns(y, 4) >= 2
    _, y, _, _ = track("bounce", index)
    assert turns(y, 4) >= 2
    x, _, _, _ = track("swing", index)
    assert turns(x, 4) >= 2
    _, _, _, area = track("turn", index)
    assert area.min() < 0.5 * area.max()
    _, _, spread, _ = track("spin", index)
    assert spread.std() < 0.2 * spread.mean()


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("class_name, power", [("part", 1), ("meet", -1)])
def test_part_and_meet_change_the_spread(class_name, power, index):
    _, _, spread, _ = track(class_name, index)
    assert (spread[-5:].mean() / spread[:5].mean()) ** power > 1.2


def test_typical_appearance_has_its_probability():
    rng = np.random.default_rng(0)
    names = ["own", "b", "c", "d"]
    draws = [demo_rendering._choose(rng, "own", 0.7, names) for _ in range(4000)]
    share = {name: draws.count(name) / 4000 for name in names}
    assert abs(share["own"] - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 4000)
    for name in "bcd":
        assert abs(share[name] - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 4000)


def test_each_class_has_its_own_shape_and_texture():
    shapes, textures = zip(*((shape, texture) for _, shape, texture in CLASSES.values()))
    assert len(set(shapes)) == len(set(textures)) == len(CLASSES)
    assert set(shapes) <= set(demo_rendering._SHAPES)
    assert set(textures) <= set(demo_rendering._TEXTURES)


def test_unknown_class_is_an_error():
    with pytest.raises(ValueError, match="Received: class_name=jump"):
        render_video("jump", split="train", index=0)


@pytest.mark.parametrize("name, value", [("width", 20), ("height", 20), ("num_frames", 1)])
def test_too_small_is_an_error(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value}"):
        render_video("rise", split="train", index=0, **{name: value})
