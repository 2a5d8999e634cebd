"""One step on one replica, and several of them in one call."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_rms.training.optimizer import MomentumSGD

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
            gradients added, which needs as much less memory.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: MomentumSGD,
        global_batch_size: int,
        label_smoothing: float = 0.0,
        accumulation: int = 1,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be in [0, 1). Received: label_smoothing={label_smoothing}"
            )
        self.model = model
        self.optimizer = optimizer
        self.global_batch_size = global_batch_size
        self.label_smoothing = label_smoothing
        self.accumulation = accumulation
        self._statistics = [
            variable
            for variable in model.non_trainable_variables
            if variable.name in ("moving_mean", "moving_variance")
        ]

    def __call__(
        self, clips: tf.Tensor, labels: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs in a replica.

        Returns:
            The sums named in `SUMS` over the clips of all replicas, and whether all was finite;
            where it was not, no weight has changed.
        """
        gradients, sums = self._gradients(clips, labels)
        replica = tf.distribute.get_replica_context()
        statistics = [variable.value for variable in self._statistics]
        # Copies lie on the replica's own device, so that all of them are added in one go.
        own = tf.nest.map_structure(tf.identity, [gradients, sums, statistics])
        gradients, sums, statistics = replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in [sums, *gradients]])
        self.optimizer.apply(gradients, step, healthy=finite)
        self._average(statistics, replica.num_replicas_in_sync)
        return sums, finite

    def _gradients(self, clips: tf.Tensor, labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        parts = zip(tf.split(clips, self.accumulation), tf.split(labels, self.accumulation))
        results = [self._gradients_of_part(*part) for part in parts]
        gradients = [tf.add_n(same) for same in zip(*(gradients for gradients, _ in results))]
        return gradients, tf.add_n([sums for _, sums in results])

    def _gradients_of_part(
        self, clips: tf.Tensor, labels: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(clips, training=True), tf.float32)
            loss = tf.reduce_sum(self._cross_entropy(logits, labels))
            mean = loss / self.global_batch_size
        variables = [variable.value for variable in self.optimizer.trained]
        gradients = tape.gradient(mean, variables, unconnected_gradients="zero")
        correct = tf.equal(tf.argmax(logits, -1, labels.dtype), labels)
        correct = tf.reduce_sum(tf.cast(correct, tf.float32))
        return gradients, tf.stack([loss, correct, tf.cast(tf.shape(labels)[0], tf.float32)])

    def _cross_entropy(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        classes = logits.shape[-1]
        targets = tf.one_hot(labels, classes)
        targets = (1 - self.label_smoothing) * targets + self.label_smoothing / classes
        return tf.nn.softmax_cross_entropy_with_logits(targets, logits)

    def _average(self, sums: list[tf.Tensor], replicas: int) -> None:
        """Gives each replica the mean of all running statistics of batch normalisation.

        Left alone they would differ, and a checkpoint would hold those of one replica.
        """
        if replicas > 1:
            for variable, total in zip(self._statistics, sums):
                variable.value.assign(total / replicas)


def make_several_steps(
    strategy: tf.distribute.Strategy, train_step: Callable
) -> Callable[..., dict[str, tf.Tensor]]:
    """A compiled function that takes `count` steps in one call.

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
                asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                clips, labels = next(iterator)
            batch = strategy.experimental_local_results(labels)
            with tf.control_dependencies(batch):
                wait += tf.timestamp() - asked
            results = strategy.run(train_step, args=(clips, labels, first_step + taken))
            sums += first_replica(results[0])
            finite = first_replica(results[1])
            taken += 1
        return {"sums": sums, "wait": wait, "steps": taken, "finite": finite, "agreed": agreed}

    return several_steps
