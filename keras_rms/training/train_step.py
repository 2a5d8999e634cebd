"""One step on one replica, and several of them in one call."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_rms.training.loss_scaling import LossScale
from keras_rms.training.mixing import Mixing
from keras_rms.training.networks import as_inputs
from keras_rms.training.optimizer import MomentumSGD
from keras_rms.training.weight_average import WeightAverage

# What a step adds up over its clips, in the order of the vector that the steps return.
SUMS = ("loss", "correct", "clips")


class TrainStep:
    """Forward, backward, sum over the replicas, update.

    Args:
        model: uint8 or float clips -> logits.
        optimizer: See `MomentumSGD`.
        global_batch_size: Clips over all replicas; the loss is their mean.
        label_smoothing: Share of the target spread evenly over all classes.
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
        optimizer: MomentumSGD,
        global_batch_size: int,
        *,
        label_smoothing: float = 0.0,
        accumulation: int = 1,
        mixing: Mixing | None = None,
        seed: int = 0,
        loss_scale: LossScale | None = None,
        average: WeightAverage | None = None,
        jit_compile: bool = False,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be in [0, 1). Received: label_smoothing={label_smoothing}"
            )
        if accumulation < 1:
            raise ValueError(f"accumulation must be at least 1. Received: {accumulation=}")
        self.model = model
        self.optimizer = optimizer
        self.global_batch_size = global_batch_size
        self.label_smoothing = label_smoothing
        self.accumulation = accumulation
        self.mixing = mixing
        self.seed = seed
        self.loss_scale = loss_scale
        self.average = average
        self._statistics = [
            variable
            for variable in model.non_trainable_variables
            if variable.name in ("moving_mean", "moving_variance")
        ]
        self._gradients = self._gradients_of_part
        if jit_compile:
            self._gradients = tf.function(self._gradients_of_part, jit_compile=True)

    def state(self) -> dict[str, tf.Variable]:
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
        clips = as_inputs(self.model, clips)
        targets = tf.one_hot(labels, self.model.output_shape[-1])
        if self.mixing:
            clips, targets = self.mixing(clips, targets, self._seed_of(step, replica))
        gradients, sums = self._accumulate(clips, targets)
        statistics = [variable.value for variable in self._statistics]
        # Copies lie on the replica's own device, so that all of them are added in one go.
        own = tf.nest.map_structure(tf.identity, [gradients, sums, statistics])
        gradients, sums, statistics = replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
        if self.loss_scale:
            gradients = self.loss_scale.unscale(gradients)
        healthy = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        self.optimizer.apply(gradients, step, healthy)
        if self.average:
            self.average.update(step)
        self._average_statistics(statistics, replica.num_replicas_in_sync)
        loss_is_finite = tf.reduce_all(tf.math.is_finite(sums))
        if self.loss_scale:
            return sums, loss_is_finite & self.loss_scale.update(healthy)
        return sums, loss_is_finite & healthy

    def _seed_of(self, step: tf.Tensor, replica: tf.distribute.ReplicaContext) -> tf.Tensor:
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)])
        return tf.random.fold_in(seed, tf.cast(replica.replica_id_in_sync_group, tf.int64))

    def _accumulate(
        self, clips: tf.Tensor, targets: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        parts = zip(tf.split(clips, self.accumulation), tf.split(targets, self.accumulation))
        results = []
        for part in parts:
            # Without the order all parts could be in memory at once.
            with tf.control_dependencies(results[-1][0] if results else []):
                results.append(self._gradients(*part))
        gradients = [tf.add_n(same) for same in zip(*(gradients for gradients, _ in results))]
        return gradients, tf.add_n([sums for _, sums in results])

    def _gradients_of_part(
        self, clips: tf.Tensor, targets: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        classes = targets.shape[-1]
        smooth = (1 - self.label_smoothing) * targets + self.label_smoothing / classes
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(clips, training=True), tf.float32)
            loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))
            mean = loss / self.global_batch_size
            if self.loss_scale:
                mean = self.loss_scale.scale(mean)
        variables = [variable.value for variable in self.optimizer.trained]
        gradients = tape.gradient(mean, variables, unconnected_gradients="zero")
        correct = tf.equal(tf.argmax(logits, -1), tf.argmax(targets, -1))
        correct = tf.reduce_sum(tf.cast(correct, tf.float32))
        return gradients, tf.stack([loss, correct, tf.cast(tf.shape(clips)[0], tf.float32)])

    def _average_statistics(self, sums: list[tf.Tensor], replicas: int) -> None:
        """Gives each replica the mean of all running statistics of batch normalisation.

        Left alone they would differ, and a checkpoint would hold those of one replica.
        """
        if replicas > 1:
            for variable, total in zip(self._statistics, sums):
                variable.value.assign(total / replicas)


def make_several_steps(
    strategy: tf.distribute.Strategy, train_step: Callable, measure_wait: bool = True
) -> Callable[..., dict[str, tf.Tensor]]:
    """A compiled function that takes `count` steps in one call.

    Args:
        strategy: From `make_strategy`.
        train_step: See `TrainStep`.
        measure_wait: False where TensorFlow allows no clock, which it does not after
            `enable_op_determinism`; "wait" is then 0.

    Returns:
        (iterator, first step, count, request) -> "sums" (see `SUMS`), "wait" (seconds this worker
        waited for data), "steps" taken, "finite" (False if the last step taken was not and the
        rest was left out) and "agreed": the mean of the workers' `request` vectors, which lets
        workers agree on what to do next without another message.
    """

    def exchange(request: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        # The copy is on the replica's own device, which the reduction needs to know.
        return replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(request))

    def first_replica(values: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(values)[0]

    def now() -> tf.Tensor:
        return tf.timestamp() if measure_wait else tf.zeros((), tf.float64)

    @tf.function
    def several_steps(iterator, first_step, count, request):  # noqa: ANN001
        agreed = first_replica(strategy.run(exchange, args=(request,)))
        sums = tf.zeros(len(SUMS))
        wait = tf.zeros((), tf.float64)
        finite = tf.constant(True)
        taken = tf.constant(0, tf.int64)
        while taken < count and finite:
            # The clock must not start before the step before has ended, nor stop before the batch
            # is there.
            with tf.control_dependencies([sums]):
                asked = now()
            with tf.control_dependencies([asked]):
                clips, labels = next(iterator)
            batch = strategy.experimental_local_results(labels)
            with tf.control_dependencies(batch):
                wait += now() - asked
            results = strategy.run(train_step, args=(clips, labels, first_step + taken))
            sums += first_replica(results[0])
            finite = first_replica(results[1])
            taken += 1
        return {"sums": sums, "wait": wait, "steps": taken, "finite": finite, "agreed": agreed}

    return several_steps
