"""What decides the result of a training.

Words:
    clip       the frames that the network sees at once; a batch is over all replicas together
    epoch      as many steps as it takes to see every video
    warm-up    the first epochs, in which the learning rate rises along a line
    alpha      the random factor of Random Mean Scaling
    completed  a recipe with a number wherever None stands for one that follows from others

Everything is checked when a recipe is made: a mistake ends the run in its first second. A field is
named as the flag of keras-rms train that sets it, and as the entry of settings.json.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_rms import arguments
from keras_rms.augmentation import checks
from keras_rms.residual_drop import NAMES

RESIDUAL_DROPS = ("none", *NAMES)
FILTERS = ("mean", "gaussian", "none")
DISTRIBUTIONS = ("normal", "uniform")
COMPONENTS = ("mean", "residual", "input")
SCHEDULES = ("cosine", "steps")
MIXINGS = ("none", "cutmix", "mixup")
OPTIMIZERS = ("sgd", "adamw")
BALANCED = "balanced"
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Network, Random Mean Scaling and optimisation. A work folder is continued with its own only.

    Example:

    >>> recipe = Recipe(model="slow_only_18", width=16, batch_size=16, epochs=20)

    Attributes:
        model: One of `keras_rms.models.list()`, or what a builder of one's own calls its network.
        num_frames: Frames of a clip; 1 for networks of images.
        width: Channels of the stem, with which all others scale; None for the network's own.
        network_options: Further arguments of the network's builder, such as {"epsilon": 0.001};
            None for those that the network of `init_from` was built with, and else for none.
        dropout: Share of the features dropped before the classifier; None for the network's own.
        residual_drop: One of `RESIDUAL_DROPS`. Regularises the residual branches; the probability
            to keep one (of DropBlock, the share of it that is kept) falls linearly with depth.
        last_survival: That probability, or share, for the last block.
        sync_bn: Whether batch normalisation sees the clips of all replicas together, as it always
            does on the JAX backend.
        rms: One of `FILTERS`: that of Random Mean Scaling, or none of it.
        rms_stddev: Of the Gaussian filter, in positions.
        rms_distribution: One of `DISTRIBUTIONS`, of alpha.
        rms_mean: The mean of alpha.
        rms_spread: The standard deviation of alpha, or half the width of the uniform distribution.
        rms_component: One of `COMPONENTS`: what alpha scales.
        rms_position: Place in the residual branch, as "before_bn1"; None for the paper's.
        rms_stages: Stages that have it; None for the paper's, ("res4", "res5").
        freeze: Stages that keep their weights, in inference mode; see `FrozenStages`.
        unfreeze_epoch: Finished epochs after which they are trained too; None for never.
        batch_size: Clips a step, over all replicas of all workers.
        epochs: Times that every video is seen.
        steps_per_epoch: None for as many as see every video.
        optimizer: One of `OPTIMIZERS`.
        learning_rate: Highest rate for the whole batch; None for 0.1 * batch_size / 64, and a
            hundredth of that with "adamw".
        head_rate: What the rate of the last layer is multiplied with.
        schedule: One of `SCHEDULES`: how the rate falls.
        decay_epochs: Of "steps": epochs at which the rate falls, in ascending order.
        decay_factor: Of "steps": what each of them multiplies the rate with.
        warmup_epochs: Length of a linear warm-up; None for 34/196 of the epochs.
        warmup_start: Where the warm-up starts, as a share of the rate.
        momentum, weight_decay, clip_norm: See `MomentumSGD`. In "adamw" the momentum is beta_1.
        label_smoothing: Share of the target spread over all classes.
        class_weights: What the loss of a clip is multiplied with: None for 1; "balanced" for
            num_videos / (classes * videos of its class), whose mean over all videos is 1; numbers
            by the names of all classes, or in the order of the classes.
        mixing: One of `MIXINGS`: how two clips become one.
        mixing_alpha, mixing_probability: See `Mixing`.
        color_jitter, rand_augment, random_erasing: How the frames of a clip are changed in the
            step, after the mixing; see `keras_rms.augmentation.augmented`. Empty or 0 for not.
        accumulation: Parts that a replica's batch is taken in, one after the other.
        average_decay: Of averaged weights, which are then validated and kept; None or 0 for none.
        precise_bn_steps: Batches over which batch normalisation's statistics are measured anew
            before an evaluation; 0 for none.
        precision: One of `PRECISIONS`: what layers compute in. The finished network has float32.
        validate_every: Epochs from one validation to the next.
        stop_after: Validations in a row without a better one after which training ends, counted
            from `unfreeze_epoch` on; None for no early stopping.
        seed: Of weights, mixing and random layers.

    Raises:
        ValueError: If a value is out of range; names it.
    """

    model: str = "slow_only_50"
    num_frames: int = 8
    width: int | None = None
    network_options: Mapping[str, Any] | None = None
    dropout: float | None = None
    residual_drop: str = "none"
    last_survival: float = 0.5
    sync_bn: bool = False

    rms: str = "mean"
    rms_stddev: float = 0.4
    rms_distribution: str = "normal"
    rms_mean: float = 1.0
    rms_spread: float = 0.5
    rms_component: str = "mean"
    rms_position: str | None = None
    rms_stages: tuple[str, ...] | None = None

    freeze: tuple[str, ...] = ()
    unfreeze_epoch: int | None = None

    batch_size: int = 64
    epochs: int = 196
    steps_per_epoch: int | None = None
    optimizer: str = "sgd"
    learning_rate: float | None = None
    head_rate: float = 1.0
    schedule: str = "cosine"
    decay_epochs: tuple[float, ...] = ()
    decay_factor: float = 0.1
    warmup_epochs: float | None = None
    warmup_start: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    class_weights: str | Mapping[str, float] | Sequence[float] | None = None
    mixing: str = "none"
    mixing_alpha: float = 1.0
    mixing_probability: float = 1.0
    color_jitter: tuple[float, ...] = ()
    rand_augment: tuple[float, ...] = ()
    random_erasing: float = 0.0
    accumulation: int = 1
    average_decay: float | None = None
    precise_bn_steps: int = 0
    precision: str = "float32"
    validate_every: int = 1
    stop_after: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for check, names in _CHECKS.items():
            for name in names:
                check(name, getattr(self, name))
        # None means "the network's own", or a number that `completed` fills in.
        for name in _OR_NONE:
            if (value := getattr(self, name)) is not None:
                _OR_NONE[name](name, value)
        for name, choices in _CHOICES.items():
            arguments.validate_choice(name, getattr(self, name), choices)
        if not 0 < self.decay_factor < 1:
            raise ValueError(
                "`decay_factor` must be a number between 0 and 1. "
                f"Received: decay_factor={self.decay_factor!r}"
            )
        # The range that keras.utils.set_random_seed takes.
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be in [0, 2**32). Received: seed={self.seed!r}")
        if self.rms_stages is not None and not self.rms_stages:
            raise ValueError(
                "`rms_stages` must name a stage, or be None for the paper's; rms='none' leaves "
                f"RMS out. Received: rms_stages={self.rms_stages!r}"
            )
        if not isinstance(self.network_options, Mapping | None):
            raise ValueError(
                "`network_options` must be arguments by name, or None. "
                f"Received: network_options={self.network_options!r}"
            )
        self._check_freezing()
        self._check_class_weights()
        self._check_schedule()

    def _check_freezing(self) -> None:
        names = self.freeze
        if isinstance(names, str) or not all(isinstance(x, str) and x for x in names):
            raise ValueError(f"`freeze` must be names of stages. Received: freeze={names!r}")
        if self.unfreeze_epoch is None:
            return
        if not names:
            raise ValueError(
                "`unfreeze_epoch` is for stages that `freeze` names: name some, or leave it out. "
                f"Received: unfreeze_epoch={self.unfreeze_epoch}, freeze={names!r}"
            )
        if self.unfreeze_epoch >= self.epochs:
            raise ValueError(
                "`unfreeze_epoch` must be less than `epochs`, or nothing would be trained after "
                f"it. Received: unfreeze_epoch={self.unfreeze_epoch}, epochs={self.epochs}"
            )

    def _check_class_weights(self) -> None:
        given = self.class_weights
        if given is None or given == BALANCED:
            return
        weights: list[Any] = list(given.values() if isinstance(given, Mapping) else given)
        if isinstance(given, str) or not all(_is_weight(weight) for weight in weights):
            raise ValueError(
                "`class_weights` must be 'balanced' or a number of 0 or more for each class. "
                f"Received: class_weights={given!r}"
            )
        if not sum(weights) > 0:
            raise ValueError(
                "`class_weights` must not all be 0, or there is nothing to learn. "
                f"Received: class_weights={given!r}"
            )

    def _check_schedule(self) -> None:
        epochs = self.decay_epochs
        if self.schedule == "cosine":
            if epochs:
                raise ValueError(
                    "`decay_epochs` belong to schedule='steps': choose that, or leave them empty. "
                    f"Received: schedule='cosine', decay_epochs={epochs}"
                )
            if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
                raise ValueError(
                    "`warmup_epochs` must be no more than `epochs`. "
                    f"Received: warmup_epochs={self.warmup_epochs}, epochs={self.epochs}"
                )
            return
        valid = all(0 < epoch < math.inf for epoch in epochs)
        if not epochs or not valid or list(epochs) != sorted({*epochs}):
            raise ValueError(
                "`decay_epochs` must be epochs above 0 in ascending order. "
                f"Received: decay_epochs={epochs}"
            )

    def completed(
        self,
        num_videos: int,
        class_names: Sequence[str] = (),
        videos_per_class: Sequence[int] | None = None,
    ) -> "CompletedRecipe":
        """The recipe with a number wherever None stands for one that follows from others.

        Args:
            num_videos: To train on.
            class_names: Of the data.
            videos_per_class: How many of the videos each class has; None where it is not known.

        Raises:
            ValueError: If the class weights are not those of the classes.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.steps_per_epoch is None:
            values["steps_per_epoch"] = -(-num_videos // self.batch_size)
        if self.learning_rate is None:
            # Linear scaling; 0.1 for 64 clips is PySlowFast's schedule for training from scratch.
            scale = 0.1 if self.optimizer == "sgd" else 0.001
            values["learning_rate"] = scale * self.batch_size / 64
        if self.warmup_epochs is None:
            # PySlowFast's 34 of 196 epochs, as a share, so that short trainings have one too.
            values["warmup_epochs"] = self.epochs * 34 / 196
        values["class_weights"] = self._class_weights(class_names, videos_per_class)
        return CompletedRecipe(**values)

    def _class_weights(
        self, names: Sequence[str], videos_per_class: Sequence[int] | None
    ) -> tuple[float, ...] | None:
        """In the order of the classes."""
        given = self.class_weights
        if given is None:
            return None
        if given == BALANCED:
            if videos_per_class is None:
                raise ValueError(
                    "`class_weights` can be 'balanced' only where it is known how many videos each "
                    "class has, which shards of SequenceExamples do not say: give a number for "
                    f"each class. Received: class_weights={given!r}"
                )
            present = sum(count > 0 for count in videos_per_class)
            share = sum(videos_per_class) / present
            return tuple(share / count if count else 0.0 for count in videos_per_class)
        if isinstance(given, Mapping):
            lacking = [name for name in names if name not in given]
            unknown = [name for name in given if name not in names]
            if lacking or unknown:
                raise ValueError(
                    "`class_weights` must have a number for each class and for no other. Without "
                    f"one: {', '.join(lacking[:5]) or 'none'}; no class of the data: "
                    f"{', '.join(unknown[:5]) or 'none'}."
                )
            return tuple(float(given[name]) for name in names)
        if names and len(given) != len(names):
            raise ValueError(
                f"`class_weights` must be as many as the {len(names)} classes. "
                f"Received: {len(given)}"
            )
        return tuple(float(number) for number in given)


@dataclasses.dataclass(frozen=True)
class CompletedRecipe(Recipe):
    """A recipe whose numbers are all known; see `Recipe.completed`."""

    # Declared anew, so that the type checker knows that they are not None.
    steps_per_epoch: int = dataclasses.field(kw_only=True)
    learning_rate: float = dataclasses.field(kw_only=True)
    warmup_epochs: float = dataclasses.field(kw_only=True)
    class_weights: tuple[float, ...] | None = dataclasses.field(kw_only=True)


def _is_weight(number: Any) -> bool:
    is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
    return is_number and 0 <= number < math.inf


Check = Callable[[str, Any], object]

_CHECKS: dict[Check, tuple[str, ...]] = {
    arguments.positive_integer: (
        "num_frames",
        "batch_size",
        "epochs",
        "accumulation",
        "validate_every",
    ),
    arguments.validate_count: ("precise_bn_steps", "seed"),
    arguments.validate_positive: ("rms_stddev", "mixing_alpha", "head_rate"),
    arguments.validate_not_negative: ("rms_spread", "weight_decay"),
    arguments.validate_finite: ("rms_mean", "decay_factor"),
    arguments.validate_rate: ("momentum", "label_smoothing"),
    arguments.validate_probability: (
        "last_survival",
        "warmup_start",
        "mixing_probability",
        "random_erasing",
    ),
    checks.validate_color_jitter: ("color_jitter",),
    checks.validate_rand_augment: ("rand_augment",),
}
_OR_NONE: dict[str, Check] = {
    "width": arguments.positive_integer,
    "steps_per_epoch": arguments.positive_integer,
    "unfreeze_epoch": arguments.positive_integer,
    "stop_after": arguments.positive_integer,
    "dropout": arguments.validate_rate,
    "average_decay": arguments.validate_rate,
    "learning_rate": arguments.validate_positive,
    "clip_norm": arguments.validate_positive,
    "warmup_epochs": arguments.validate_not_negative,
}
_CHOICES = {
    "residual_drop": RESIDUAL_DROPS,
    "rms": FILTERS,
    "rms_distribution": DISTRIBUTIONS,
    "rms_component": COMPONENTS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "mixing": MIXINGS,
    "precision": PRECISIONS,
}
