"""The network in training, and what moves its weights."""

import itertools
from collections.abc import Sequence

import keras

from keras_rms.augmentation import augmented
from keras_rms.training.batch_norm.layers_of import statistics
from keras_rms.training.freezing import FrozenStages
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.optimization.adamw import AdamW
from keras_rms.training.optimization.loss_scaling import LossScale
from keras_rms.training.optimization.mixing import CutMix, MixUp
from keras_rms.training.optimization.optimizer import MomentumSGD, Optimizer
from keras_rms.training.optimization.schedules import WarmupCosine, WarmupSchedule, WarmupSteps
from keras_rms.training.optimization.weight_average import WeightAverage
from keras_rms.training.recipe import CompletedRecipe
from keras_rms.training.work_dir.checkpoints import model_state
from keras_rms.training.work_dir.initial_weights import head_weights

_MIXINGS = {"cutmix": CutMix, "mixup": MixUp}
_OPTIMIZERS: dict[str, type[MomentumSGD | AdamW]] = {"sgd": MomentumSGD, "adamw": AdamW}


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
        mixing = _MIXINGS.get(recipe.mixing)
        self.model = model
        self.schedule = schedule_of(recipe)
        self._frozen = FrozenStages(model, recipe.freeze)
        self._unfreeze_epoch = recipe.unfreeze_epoch  # None once it is over
        # What is unfrozen later has its place in the optimizer, and in checkpoints, from the start.
        at_last = model.trainable_variables
        self._frozen.freeze()
        trained = model.trainable_variables if self._unfreeze_epoch is None else at_last
        optimizer = _optimizer_of(recipe, model, trained, self.schedule)
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
            class_weights=recipe.class_weights,
            accumulation=recipe.accumulation,
            mixing=mixing and mixing(recipe.mixing_alpha, recipe.mixing_probability),
            seed=recipe.seed,
            loss_scale=LossScale() if recipe.precision == "mixed_float16" else None,
            average=self.average,
            jit_compile=jit_compile,
        )
        # With the random states of what augments, which are no part of the network.
        self.state = {**model_state(self.step.model), **self.step.state()}

    def enter_epoch(self, finished_epochs: int) -> bool:
        """Unfreezes the stages when their epoch has come; returns whether the step has changed."""
        if self._unfreeze_epoch is None or finished_epochs < self._unfreeze_epoch:
            return False
        self._unfreeze_epoch = None
        self._frozen.unfreeze()
        self.step.renew()
        return True


def _optimizer_of(
    recipe: CompletedRecipe,
    model: keras.Model,
    variables: Sequence[keras.Variable],
    schedule: WarmupSchedule,
) -> Optimizer:
    head = head_weights(model)
    if recipe.head_rate != 1 and not head:
        raise ValueError(
            "`head_rate` is for a network that ends in a dense layer: leave it out. "
            f"Received: head_rate={recipe.head_rate}"
        )
    return _OPTIMIZERS[recipe.optimizer](
        variables,
        schedule,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        clip_norm=recipe.clip_norm,
        factors=[recipe.head_rate if v.path in head else 1.0 for v in variables],
    )


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
