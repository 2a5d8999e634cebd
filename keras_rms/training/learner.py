"""The network in training, and what moves its weights."""

import itertools

import keras

from keras_rms.augmentation import augmented
from keras_rms.training.batch_norm.layers_of import statistics
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.optimization.loss_scaling import LossScale
from keras_rms.training.optimization.mixing import CutMix, MixUp
from keras_rms.training.optimization.optimizer import MomentumSGD
from keras_rms.training.optimization.schedules import WarmupCosine, WarmupSchedule, WarmupSteps
from keras_rms.training.optimization.weight_average import WeightAverage
from keras_rms.training.recipe import CompletedRecipe
from keras_rms.training.work_dir.checkpoints import model_state

_MIXINGS = {"cutmix": CutMix, "mixup": MixUp}


class Learner:
    """A network with the optimizer, the step and the averaged weights of a recipe.

    Make it in the scope of the strategy.

    Args:
        model: uint8 clips -> logits.
        recipe: What to train it by.
        jit_compile: See `TrainStep`.

    Attributes:
        model: The network.
        schedule: Step -> learning rate.
        average: `WeightAverage` of weights and statistics, or None.
        step: `TrainStep`.
        state: All that the future of the training depends on, by name.
    """

    def __init__(
        self, model: keras.Model, recipe: CompletedRecipe, jit_compile: bool = False
    ) -> None:
        trained = model.trainable_variables
        mixing = _MIXINGS.get(recipe.mixing)
        self.model = model
        self.schedule = schedule_of(recipe)
        optimizer = MomentumSGD(
            trained, self.schedule, recipe.momentum, recipe.weight_decay, recipe.clip_norm
        )
        self.average = None
        if recipe.average_decay:
            self.average = WeightAverage([*trained, *statistics(model)], recipe.average_decay)
        self.step = TrainStep(
            augmented(
                model,
                color_jitter=recipe.color_jitter,
                rand_augment=recipe.rand_augment,
                random_erasing=recipe.random_erasing,
                seed=recipe.seed,
            ),
            optimizer,
            recipe.batch_size,
            label_smoothing=recipe.label_smoothing,
            accumulation=recipe.accumulation,
            mixing=mixing and mixing(recipe.mixing_alpha, recipe.mixing_probability),
            seed=recipe.seed,
            loss_scale=LossScale() if recipe.precision == "mixed_float16" else None,
            average=self.average,
            jit_compile=jit_compile,
        )
        # With the random states of what augments, which are no part of the network.
        self.state = {**model_state(self.step.model), **self.step.state()}


def schedule_of(recipe: CompletedRecipe) -> WarmupSchedule:
    """Step -> learning rate.

    Raises:
        ValueError: If two of `decay_epochs` are the same step, or one is the first step.
    """
    per_epoch, rate = recipe.steps_per_epoch, recipe.learning_rate
    warmup = (round(recipe.warmup_epochs * per_epoch), recipe.warmup_start)
    if recipe.schedule == "cosine":
        return WarmupCosine(rate, recipe.epochs * per_epoch, *warmup)
    # Epochs may be fractions; a boundary is a step.
    boundaries = [round(epoch * per_epoch) for epoch in recipe.decay_epochs]
    if any(after <= before for before, after in itertools.pairwise([0, *boundaries])):
        raise ValueError(
            "`decay_epochs` must be a step apart from each other and from the beginning, and an "
            f"epoch has {per_epoch} steps. Received: decay_epochs={recipe.decay_epochs}, the steps "
            f"{boundaries}"
        )
    return WarmupSteps(rate, boundaries, recipe.decay_factor, *warmup)
