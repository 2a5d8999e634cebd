"""One step on one replica, and several of them in one call.

Words:
    replica      a device with its copy of the network and its share of the batch
    global batch the clips of all replicas together; the loss is the mean over them
    part         one of the pieces that a replica's share is taken in, to save memory
    sums         what a step adds up over its clips, see `SUMS`
    healthy      all gradients are finite; if not, no weight moves
    statistics   moving mean and variance of batch normalisation, which no gradient changes

Each replica divides its loss by the size of the global batch. The sum of the replicas' gradients is
then that of the whole batch, whatever the number of replicas and parts.

What differs between the backends is who differentiates and compiles: TensorFlow here, over all
replicas of a strategy, and JAX in `jax_steps`, where one program is that of all devices.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_rms.inference.inputs import as_inputs
from keras_rms.training.batch_norm.layers_of import moving_statistics
from keras_rms.training.optimization.loss_scaling import LossScale
from keras_rms.training.optimization.mixing import Mixing
from keras_rms.training.optimization.optimizer import Optimizer
from keras_rms.training.optimization.weight_average import WeightAverage

Tensor = Any  # of the backend

# What a step adds up over its clips, in the order of the vector that the steps return.
SUMS = ("loss", "correct", "clips")


class TrainStep:
    """Forward, backward, sum over the replicas, update.

    The call is for TensorFlow; JAX calls `prepare`, `loss` and `update`.

    Args:
        model: uint8 or float clips -> logits.
        optimizer: `MomentumSGD` or `AdamW`.
        global_batch_size: Clips over all replicas; the loss is their mean.
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: What the loss of a clip is multiplied with, by class; None for 1. The sum is
            divided by the number of clips all the same. A mixture of clips has that of its shares.
        accumulation: The replica's batch is taken in so many parts, one after the other, and their
            gradients added, which needs as much less memory. Batch normalisation sees the parts.
        mixing: `CutMix`, `MixUp` or None.
        seed: Of the mixing, which also depends on the step and the replica.
        loss_scale: `LossScale` for float16, else None.
        average: `WeightAverage` or None.
        jit_compile: Whether XLA compiles the forward and backward pass.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer,
        global_batch_size: int,
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        accumulation: int = 1,
        mixing: Mixing | None = None,
        seed: int = 0,
        loss_scale: LossScale | None = None,
        average: WeightAverage | None = None,
        jit_compile: bool = False,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"`label_smoothing` must be in [0, 1). Received: label_smoothing={label_smoothing}"
            )
        if accumulation < 1:
            raise ValueError(f"`accumulation` must be at least 1. Received: {accumulation=}")
        self.model = model
        self.optimizer = optimizer
        self.global_batch_size = global_batch_size
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.accumulation = accumulation
        self.mixing = mixing
        self.seed = seed
        self.loss_scale = loss_scale
        self.average = average
        self._jit_compile = jit_compile
        self.renew()

    def renew(self) -> None:
        """Takes in which layers are frozen now; see also `make_several_steps`, which traces."""
        self._statistics = moving_statistics(self.model)
        self._gradients = self._gradients_of_part
        if self._jit_compile:
            self._gradients = tf.function(self._gradients_of_part, jit_compile=True)

    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint has to hold beside the model, by name."""
        parts = (self.optimizer, self.loss_scale, self.average)
        return {name: v for part in parts if part for name, v in part.state().items()}

    def __call__(
        self, clips: tf.Tensor, labels: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs in a replica.

        Returns:
            The sums named in `SUMS` over the clips of all replicas, and whether training can go
            on. Where a gradient is not finite, no weight has changed.
        """
        replica = tf.distribute.get_replica_context()
        clips, targets = self.prepare(clips, labels, step, replica.replica_id_in_sync_group)
        gradients, sums = self._accumulate(clips, targets)
        moments = [variable.value for variable in self._statistics]
        # Copies lie on the replica's own device, so that all of them are added in one go.
        own = tf.nest.map_structure(tf.identity, [gradients, sums, moments])
        gradients, sums, moments = replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
        # Before the update, which takes the statistics into the averaged network.
        self._share_statistics(moments, replica.num_replicas_in_sync)
        return sums, self.update(gradients, sums, step)

    def prepare(
        self, clips: tf.Tensor, labels: tf.Tensor, step: tf.Tensor, replica: tf.Tensor | int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mixed clips, and targets of shape (clips, classes); TensorFlow on every backend."""
        clips = as_inputs(self.model, clips)
        targets = tf.one_hot(labels, self.model.output_shape[-1])
        if not self.mixing:
            return clips, targets
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)])
        # Each replica mixes its own clips, with shares of its own.
        seed = tf.random.fold_in(seed, tf.cast(replica, tf.int64))
        return self.mixing(clips, targets, seed)

    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What to differentiate, and the sums named in `SUMS`."""
        smooth = (1 - self.label_smoothing) * targets + self.label_smoothing / targets.shape[-1]
        logits = ops.cast(logits, "float32")
        losses = ops.categorical_crossentropy(smooth, logits, from_logits=True)
        if self.class_weights is not None:
            losses *= ops.sum(targets * ops.convert_to_tensor(self.class_weights, "float32"), -1)
        correct = ops.equal(ops.argmax(logits, -1), ops.argmax(targets, -1))
        loss, clips = ops.sum(losses), ops.cast(ops.shape(targets)[0], "float32")
        sums = ops.stack([loss, ops.sum(ops.cast(correct, "float32")), clips])
        # Not over the clips here: the replicas' gradients are added up, not averaged.
        mean = loss / self.global_batch_size
        return self.loss_scale.scale(mean) if self.loss_scale else mean, sums

    def update(self, gradients: Sequence[Tensor], sums: Tensor, step: Tensor) -> Tensor:
        """Moves the weights and their average; returns whether training can go on."""
        if self.loss_scale:
            gradients = self.loss_scale.unscale(gradients)
        healthy = ops.all(ops.stack([ops.all(ops.isfinite(g)) for g in gradients]))
        self.optimizer.apply(gradients, step, healthy)
        if self.average:
            self.average.update(step)
        goes_on = self.loss_scale.update(healthy) if self.loss_scale else healthy
        return ops.logical_and(ops.all(ops.isfinite(sums)), goes_on)

    def _accumulate(
        self, clips: tf.Tensor, targets: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        parts = zip(tf.split(clips, self.accumulation), tf.split(targets, self.accumulation))
        results: list[tuple[list[tf.Tensor], tf.Tensor]] = []
        for part in parts:
            # Without the order all parts could be in memory at once.
            with tf.control_dependencies(results[-1][0] if results else []):
                results.append(self._gradients(*part))
        gradients = [tf.add_n(same) for same in zip(*(gradients for gradients, _ in results))]
        return gradients, tf.add_n([sums for _, sums in results])

    def _gradients_of_part(
        self, clips: tf.Tensor, targets: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        variables = [variable.value for variable in self.optimizer.trained]
        # Left to itself the tape would keep what frozen layers compute, too.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, sums = self.loss(self.model(clips, training=True), targets)
        return tape.gradient(loss, variables, unconnected_gradients="zero"), sums

    def _share_statistics(self, sums: list[tf.Tensor], replicas: int) -> None:
        """Gives each replica the mean of all running statistics of batch normalisation.

        Left alone they would differ, and a checkpoint would hold those of one replica.
        """
        if replicas > 1:
            for variable, total in zip(self._statistics, sums):
                variable.value.assign(total / replicas)


def make_several_steps(
    strategy: tf.distribute.Strategy, train_step: TrainStep, measure_wait: bool = True
) -> Callable[..., dict[str, tf.Tensor]]:
    """A compiled function that takes `count` steps in one call.

    Args:
        strategy: From `make_strategy`; the JAX backend does without.
        train_step: See `TrainStep`.
        measure_wait: False where TensorFlow allows no clock, which it does not after
            `enable_op_determinism`; "wait" is then 0.

    Returns:
        (iterator, first step, count, request) -> "sums" (see `SUMS`), "wait" (seconds this worker
        waited for data), "steps" taken, "finite" (False if the last step taken was not and the
        rest was left out) and "agreed": the mean of the workers' `request` vectors, which lets
        workers agree on what to do next without another message.
    """
    if keras.backend.backend() == "jax":
        from keras_rms.training.loop import jax_steps  # JAX need not be installed for TensorFlow

        return jax_steps.make_several_steps(train_step, measure_wait)

    def exchange(request: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        # The copy is on the replica's own device, which the reduction needs to know.
        return replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(request))

    def first_replica(values: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(values)[0]

    def now() -> tf.Tensor:
        return tf.timestamp() if measure_wait else tf.zeros((), tf.float64)

    def step_after(
        clock: tf.Tensor, clips: tf.Tensor, labels: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # A clock that is not read before would wait in the queue behind the step's operations.
        with tf.control_dependencies([clock]):
            clips, labels = tf.identity(clips), tf.identity(labels)
        return train_step(clips, labels, step)

    # Without AutoGraph, which took seconds at each start and left files in /tmp after a kill.
    @tf.function(autograph=False)
    def several_steps(iterator, first_step, count, request):  # noqa: ANN001
        agreed = first_replica(strategy.run(exchange, args=(request,)))

        def goes_on(
            sums: tf.Tensor, wait: tf.Tensor, taken: tf.Tensor, finite: tf.Tensor
        ) -> tf.Tensor:
            return tf.logical_and(taken < count, finite)

        def one_step(
            sums: tf.Tensor, wait: tf.Tensor, taken: tf.Tensor, finite: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            # The clock must not start before the step before has ended, nor stop before the batch
            # is there.
            with tf.control_dependencies([sums]):
                asked = now()
            with tf.control_dependencies([asked]):
                clips, labels = iterator.get_next()
            batch = strategy.experimental_local_results(labels)
            with tf.control_dependencies(batch):
                arrived = now()
            wait += arrived - asked
            results = strategy.run(step_after, args=(arrived, clips, labels, first_step + taken))
            return sums + first_replica(results[0]), wait, taken + 1, first_replica(results[1])

        nothing = (tf.zeros(len(SUMS)), tf.zeros((), tf.float64), tf.constant(0, tf.int64))
        sums, wait, taken, finite = tf.while_loop(goes_on, one_step, (*nothing, tf.constant(True)))
        return {"sums": sums, "wait": wait, "steps": taken, "finite": finite, "agreed": agreed}

    return several_steps
