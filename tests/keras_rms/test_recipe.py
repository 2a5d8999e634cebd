"""A recipe says what is wrong with it before anything is built, and completes itself."""

import dataclasses

import pytest

from keras_rms.training import learner
from keras_rms.training.recipe import CompletedRecipe, Recipe

# A value that is out of range -> the fields for which it is.
OUT_OF_RANGE = {
    0: (
        "num_frames width batch_size epochs steps_per_epoch accumulation validate_every "
        "clip_norm learning_rate rms_stddev mixing_alpha head_rate unfreeze_epoch stop_after"
    ),
    -1: "rms_spread weight_decay warmup_epochs precise_bn_steps seed",
    1: "momentum label_smoothing dropout average_decay",
    2: "last_survival warmup_start mixing_probability random_erasing color_jitter rand_augment",
    "no": "rms rms_distribution rms_component residual_drop optimizer schedule mixing precision",
}
WRONG = [
    *[
        ({name: value}, f"`{name}` .*Received: {name}={value!r}")
        for value, names in OUT_OF_RANGE.items()
        for name in names.split()
    ],
    ({"rms_mean": float("nan")}, "`rms_mean`.*Received: rms_mean=nan"),
    ({"decay_factor": 1.0}, "Received: decay_factor=1.0"),
    ({"seed": 2**32}, "Received: seed=4294967296"),
    ({"decay_epochs": (4.0,)}, "belong to schedule='steps'.*decay_epochs=\\(4.0,\\)"),
    ({"epochs": 3, "warmup_epochs": 4}, "no more than `epochs`.*warmup_epochs=4, epochs=3"),
    ({"rms_stages": ()}, "must name a stage, or be None.*Received: rms_stages=\\(\\)"),
    ({"freeze": "stem"}, "names of stages. Received: freeze='stem'"),
    ({"freeze": ("stem", "")}, "names of stages"),
    ({"unfreeze_epoch": 2}, "that `freeze` names.*Received: unfreeze_epoch=2, freeze="),
    ({"freeze": ("stem",), "epochs": 3, "unfreeze_epoch": 3}, "unfreeze_epoch=3, epochs=3"),
    ({"class_weights": "weights"}, "'balanced' or a number.*Received: class_weights='weights'"),
    *[
        ({"class_weights": weights}, "a number of 0 or more for each class")
        for weights in ({"a": -1}, {"a": "1"}, {"a": True}, (1.0, float("inf")))
    ],
    ({"class_weights": {"a": 0, "b": 0}}, "must not all be 0"),
    ({"schedule": "steps"}, "ascending order. Received: decay_epochs=\\(\\)"),
    *[
        ({"schedule": "steps", "decay_epochs": epochs}, "`decay_epochs` must be epochs above 0")
        for epochs in ((8.0, 4.0), (4.0, 4.0), (0.0, 4.0), (4.0, float("inf")))
    ],
]


@pytest.mark.parametrize(("values", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_out_of_range_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)


def test_the_defaults_are_a_recipe_and_it_cannot_be_changed():
    recipe = Recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1


def test_what_follows_from_others_is_filled_in():
    recipe = Recipe(batch_size=24, epochs=98).completed(num_videos=49)
    assert recipe.steps_per_epoch == 3  # 24, 24 and 1
    assert recipe.learning_rate == pytest.approx(0.1 * 24 / 64)
    assert recipe.warmup_epochs == pytest.approx(17)


def test_adamw_has_a_rate_of_its_own():
    recipe = Recipe(batch_size=32, optimizer="adamw").completed(num_videos=49)
    assert recipe.learning_rate == pytest.approx(0.0005)


def test_class_weights_come_in_the_order_of_the_classes():
    names = ("b", "a", "none")

    def weights(given, counts=(6, 2, 0)):
        return Recipe(class_weights=given).completed(8, names, counts).class_weights

    assert weights(None) is None
    assert weights({"a": 1, "none": 0, "b": 2.5}) == weights((2.5, 1, 0)) == (2.5, 1.0, 0.0)
    # Their mean over the videos is 1.
    assert weights("balanced") == pytest.approx((8 / 12, 8 / 4, 0))
    assert Recipe(class_weights=(1, 2)).completed(8).completed(8).class_weights == (1.0, 2.0)
    for given, message in [
        ({"a": 1, "c": 1}, r"Without one: b, none; no class of the data: c\."),
        ((1.0, 1.0), "as many as the 3 classes. Received: 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            weights(given)
    with pytest.raises(ValueError, match="SequenceExamples do not say"):
        weights("balanced", None)


def test_what_is_given_stays():
    given = {"steps_per_epoch": 7, "learning_rate": 0.3, "warmup_epochs": 0, "seed": 5}
    given |= {"schedule": "steps", "decay_epochs": (0.5, 20.0), "rms_stages": ("res3",)}
    recipe = Recipe(**given)
    completed = recipe.completed(num_videos=49)
    assert isinstance(completed, CompletedRecipe)
    assert dataclasses.asdict(completed) == dataclasses.asdict(recipe)
    assert completed.completed(num_videos=1) == completed


@pytest.mark.parametrize("epochs", [(0.1,), (4.2, 4.3)])
def test_decays_on_one_step_are_refused_by_their_epochs(epochs):
    recipe = Recipe(schedule="steps", decay_epochs=epochs, steps_per_epoch=4, batch_size=8)
    with pytest.raises(ValueError, match=r"`decay_epochs` must be a step apart.* has 4 steps\."):
        learner.schedule_of(recipe.completed(64))
