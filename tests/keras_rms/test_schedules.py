"""Learning rates against the formulas written out in NumPy."""

import keras
import numpy as np
import pytest

from keras_rms.training.optimization.schedules import WarmupCosine, WarmupSchedule, WarmupSteps


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_cosine_without_warm_up():
    schedule = WarmupCosine(0.4, total_steps=100)
    steps = np.array([0, 1, 25, 50, 99, 100, 120])
    expected = 0.2 * (1 + np.cos(np.pi * np.minimum(steps / 100, 1)))
    np.testing.assert_allclose(rates(schedule, steps), expected, atol=1e-7)
    assert schedule(50).numpy() == pytest.approx(0.2)


def test_warm_up_is_a_line_that_ends_on_the_curve():
    schedule = WarmupCosine(0.4, total_steps=100, warmup_steps=20, warmup_start=0.25)
    end = 0.2 * (1 + np.cos(np.pi * 0.2))
    steps = np.arange(21)
    np.testing.assert_allclose(rates(schedule, steps), 0.1 + (end - 0.1) * steps / 20, rtol=1e-6)
    after = rates(schedule, [21, 60])
    np.testing.assert_allclose(after, 0.2 * (1 + np.cos(np.pi * np.array([0.21, 0.6]))), rtol=1e-6)


def test_steps_fall_at_their_boundaries():
    schedule = WarmupSteps(1.0, [10, 30], factor=0.5, warmup_steps=4, warmup_start=0.0)
    steps = [0, 2, 4, 9, 10, 29, 30, 1000]
    np.testing.assert_allclose(
        rates(schedule, steps), [0, 0.5, 1, 1, 0.5, 0.5, 0.25, 0.25], rtol=1e-6
    )


def test_warm_up_may_end_after_a_boundary_without_a_jump():
    schedule = WarmupSteps(1.0, [2], factor=0.1, warmup_steps=4, warmup_start=0.0)
    np.testing.assert_allclose(rates(schedule, [3, 4]), [0.075, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    "schedule", [WarmupCosine(0.3, 50, 5, 0.2), WarmupSteps(0.3, [7, 9], 0.2, 5, 0.3)]
)
def test_a_schedule_survives_serialisation(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    copy = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(rates(copy, range(12)), rates(schedule, range(12)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WarmupCosine(0.0, 10), "`base_rate` must be above 0. Received: base_rate=0.0"),
        (lambda: WarmupCosine(0.1, 10, -1), "warmup_steps=-1"),
        (lambda: WarmupCosine(0.1, 10, 11), "total_steps=10, warmup_steps=11"),
        (lambda: WarmupCosine(0.1, 10, 8), "warmup_steps=8 of total_steps=10"),
        (lambda: WarmupCosine(0.1, 0), "total_steps=0"),
        (lambda: WarmupCosine(0.1, 10, 1, 2.0), "warmup_start=2.0"),
        (lambda: WarmupSteps(0.1, []), "boundaries"),
        (lambda: WarmupSteps(0.1, [5, 5]), "ascending"),
        (lambda: WarmupSteps(0.1, [0, 5]), "ascending"),
        (lambda: WarmupSteps(0.1, [5], factor=1.0), "factor=1.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_base_class_has_no_curve():
    with pytest.raises(NotImplementedError):
        WarmupSchedule(0.1)(0)
