"""Why a training run ended before its last step, each with the exit status of the command."""

import tensorflow as tf

# What TensorFlow raises on the workers that remain when one is gone.
LOST_WORKER = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


class TrainingStopped(Exception):  # noqa: N818 - not every end is an error
    """A run that ended early; its message is one paragraph that says what to do.

    Attributes:
        exit_code: The status of the process, different for each cause so that a scheduler can tell
            a run to start again from one to look at.
    """

    exit_code = 1


class Preempted(TrainingStopped):
    """SIGTERM or Ctrl-C came; everything is saved and the same command continues."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: "try again"


class WorkerLost(TrainingStopped):
    """Another worker stopped answering."""

    exit_code = 76

    @classmethod
    def because_of(cls, error: tf.errors.OpError, when: str = "") -> "WorkerLost":
        """What to tell the user for one of the errors in `LOST_WORKER`."""
        lines = error.message.splitlines()
        cause = next((line.strip() for line in lines if "aborted" in line.lower()), "")
        return cls(
            f"Another worker stopped{when}{cause and f' ({cause})'}. Start the same command on all "
            "workers again: training continues from the newest checkpoint."
        )


class OutOfMemory(TrainingStopped):
    """A step does not fit into the device's memory."""

    @classmethod
    def because_of(cls, error: Exception) -> "OutOfMemory | None":
        """None if `error` is of another kind."""
        # JAX has one class for all that goes wrong on a device.
        on_jax = str(error).startswith("RESOURCE_EXHAUSTED")
        if not on_jax and not isinstance(error, tf.errors.ResourceExhaustedError):
            return None
        return cls(
            f"A step does not fit into the device's memory ({str(error).splitlines()[0]}). Take "
            "the batch in parts (`accumulation`), or a smaller `batch_size`, or smaller clips."
        )


class NotFinite(TrainingStopped):
    """The loss or a gradient is infinite or not a number.

    Attributes:
        step: The step whose batch caused it; the weights are those from before it.
    """

    exit_code = 77

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
