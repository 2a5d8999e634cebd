"""Why a training run ended before its last step, each with the exit status of the command."""


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


class NotFinite(TrainingStopped):
    """The loss or a gradient is infinite or not a number."""

    exit_code = 77
