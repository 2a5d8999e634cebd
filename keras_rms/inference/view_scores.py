"""Scores of videos from several views: softmax of each view, averaged (paper, section 4.1)."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from keras_rms.inference.inputs import as_inputs
from keras_rms.inference.scores import Scores


class ViewScorer:
    """Averages a network's class probabilities over the views of each video.

    The network sees one view of each video at a time, so that the memory needed is that of a batch
    of `batch_size` clips, whatever the number of views.

    Args:
        model: Takes (videos, time, height, width, channels), or images where views have one frame,
            and gives logits (videos, classes).
        from_logits: Whether it does; False for a model that gives probabilities, which then are
            averaged as they are.
        strategy: The `tf.distribute.Strategy` whose replicas share each batch; None for the current
            device alone. Under `MultiWorkerMirroredStrategy` each worker scores the dataset that it
            is given on its first device, with no exchange between workers: their datasets may
            differ in length.

    Example:

    >>> views = evaluation_dataset("data", "validation", batch_size=8, num_clips=10, num_crops=3)
    >>> ViewScorer(model).scores(views).top_k(1)

    Raises:
        ValueError: If the model ends in a softmax and `from_logits` says that it does not.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy | None = None,
        from_logits: bool = True,
    ) -> None:
        if from_logits and ends_in_softmax(model):
            raise ValueError(
                f"The model {model.name!r} ends in a softmax and so gives probabilities: scores "
                "would be wrong with a second one. Give from_logits=False. "
                f"Received: from_logits={from_logits}"
            )
        several_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        one_device = strategy is None or several_workers
        self._strategy: tf.distribute.Strategy = (
            tf.distribute.get_strategy() if one_device else strategy
        )

        def score(views: tf.Tensor) -> tf.Tensor:
            return self._strategy.run(_mean_probabilities, args=(model, views, from_logits))

        self._score = compiled(score)

    def scores(
        self, batches: tf.data.Dataset, on_batch: Callable[[int], None] | None = None
    ) -> Scores:
        """Scores each video of a dataset once.

        Args:
            batches: Dictionaries of "views" (videos, views, time, height, width, channels),
                "label", "index" and "mask" (videos,); rows whose mask is False fill up the last
                batch and are left out.
            on_batch: Called after each batch with the number of its videos, to show progress.

        Raises:
            ValueError: If there is no video.
        """
        found = self.scores_of_part(batches, on_batch)
        if not len(found.labels):
            raise ValueError(
                "There is no video to evaluate: the dataset is empty, or all of it is damaged."
            )
        return found

    def scores_of_part(
        self, batches: tf.data.Dataset, on_batch: Callable[[int], None] | None = None
    ) -> Scores:
        """`scores` of one worker's part of the videos, which may hold none.

        Args:
            batches, on_batch: See `scores`.
        """
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for batch in self._distributed(batches):
            probabilities = self._local(self._score(batch["views"]))
            mask, index, label = (self._local(batch[name]) for name in ("mask", "index", "label"))
            rows.append((index[mask], label[mask], probabilities[mask]))
            if on_batch:
                on_batch(int(mask.sum()))
        if not rows:
            none = np.zeros(0, np.int32)
            return Scores(none, none, np.zeros((0, 1), np.float32))
        return Scores(*(np.concatenate(column) for column in zip(*rows)))

    def _distributed(self, batches: tf.data.Dataset) -> Iterable:
        if self._strategy.num_replicas_in_sync == 1:
            return batches
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return self._strategy.experimental_distribute_dataset(batches.with_options(options))

    def _local(self, value: tf.Tensor) -> np.ndarray:
        parts = self._strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether the model gives probabilities, as far as its last layer tells."""
    last = model.layers[-1] if model.layers else None
    softmax = keras.activations.softmax
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is softmax


def _mean_probabilities(model: keras.Model, views: tf.Tensor, from_logits: bool) -> tf.Tensor:
    """(videos, views, time, height, width, channels) -> (videos, classes) float32."""
    outputs = view_outputs(model, views)
    return tf.reduce_mean(tf.nn.softmax(outputs) if from_logits else outputs, axis=1)


def compiled(function: Callable) -> Callable:
    """A function around `view_outputs`, compiled; backends other than TensorFlow do that inside."""
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return (
        tf.function(function, reduce_retracing=True, autograph=False) if on_tensorflow else function
    )


def view_outputs(model: keras.Model, views: tf.Tensor) -> tf.Tensor:
    """A network's output for each view, computed one view at a time.

    Args:
        model: Takes (videos, time, height, width, channels), or images, gives (videos, outputs).
        views: (videos, views, time, height, width, channels).

    Returns:
        float32 (videos, views, outputs).
    """
    if keras.backend.backend() != "tensorflow":
        clips = np.moveaxis(np.asarray(views), 1, 0)
        outputs = [_predict(model, as_inputs(model, clip)) for clip in clips]
        return np.stack(outputs, 1).astype("float32")
    # By number: with the views as the first axis all of them would be copied.
    outputs = tf.map_fn(
        lambda i: tf.cast(model(as_inputs(model, views[:, i]), training=False), tf.float32),
        tf.range(tf.shape(views)[1]),
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )
    return tf.transpose(outputs, (1, 0, 2))


def _predict(model: keras.Model, clips: np.ndarray) -> np.ndarray:
    """`predict_on_batch` of any number of clips; `keras.distribution` takes an equal share each."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return model.predict_on_batch(clips)
    mesh = distribution.device_mesh
    devices = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    added = [(0, -len(clips) % devices)] + [(0, 0)] * (clips.ndim - 1)
    return model.predict_on_batch(np.pad(clips, added, mode="edge"))[: len(clips)]
