"""Commands of this project in processes of their own, as from a shell.

Most begin in `warm_processes`, at once; a cold start takes five seconds. What decides on oneDNN has
to be there while TensorFlow is imported, and needs a cold start.
"""

import atexit
import contextlib
import functools
import itertools
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from dataclasses import dataclass
from multiprocessing import process as processes
from pathlib import Path

import warm_processes
from paths import ROOT

# A training of seconds; see small_dataset.make_dataset for the data.
SMALL_TRAINING = (
    "--model=slow_only_18 --width=4 --crop_size=32 --num_frames=2 --span=8 --batch_size=8 "
    "--epochs=1 --warmup_epochs=0 --noflip --data_workers=1 --steps_per_call=1"
).split()

# Variables that Keras reads while it is imported.
_READ_BY_IMPORTS = {"KERAS_BACKEND", "JAX_PLATFORMS"}
_numbers = itertools.count()


@functools.cache
def _folder():
    """Made when it is first needed: each command imports this module too, and may be killed."""
    return tempfile.TemporaryDirectory(prefix="keras_rms_commands_")


class _Cold:
    """A process of `subprocess` with the names of multiprocessing's."""

    def __init__(self, popen):
        self._popen = popen
        self.pid, self.kill = popen.pid, popen.kill

    @property
    def exitcode(self):
        return self._popen.poll()

    def is_alive(self):
        return self.exitcode is None

    def join(self, seconds=None):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)


@dataclass
class Command:
    """One that was started; `status` waits for it."""

    process: processes.BaseProcess | _Cold
    output: Path

    def status(self, seconds=240):
        """Its exit status, or the negative number of the signal that ended it."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(self.stdout + self.stderr)
        return self.process.exitcode

    def wait_for(self, condition, seconds=240):
        end = time.monotonic() + seconds
        while not condition():
            if not self.process.is_alive() or time.monotonic() > end:
                raise TimeoutError(self.stdout + self.stderr)
            time.sleep(0.002)

    def send(self, number):
        """Sends a signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self):
        """Kills it if it is still there."""
        self.process.kill()
        self.process.join()

    @property
    def returncode(self):
        return self.process.exitcode

    @property
    def stdout(self):
        return Path(f"{self.output}.out").read_text()

    @property
    def stderr(self):
        return Path(f"{self.output}.err").read_text()

    @property
    def error(self):
        """The paragraph that the command ended with, on one line."""
        assert "Traceback" not in self.stderr, self.stderr
        found = f"\n{self.stderr}".rindex("\nerror:")
        message = self.stderr[found:].strip()
        assert "\n\n" not in message, message
        return " ".join(message.split())


def start(
    output,
    *words,
    variables=None,
    largest_file=None,
    cwd=ROOT,
    text="",
    cold=False,
    session=False,
    before=None,
):
    """Starts Python with these words: a script or `-c` and a program, then its arguments.

    Args:
        output: What it prints goes to `output`.out and `output`.err; None: to a temporary folder.
        words: As on the command line.
        variables: Changes of the environment; None removes one.
        largest_file: Bytes that stand for a full disk.
        cwd: The folder to run in.
        text: What it reads from its standard input.
        cold: Starts a fresh interpreter.
        session: Makes it the leader of a session, so that all it starts can be killed at once.
        before: Called in the process first; not of a cold one.
    """
    output = output or Path(_folder().name) / str(next(_numbers))
    for ending, content in (("out", ""), ("err", ""), ("in", text)):
        Path(f"{output}.{ending}").write_text(content)
    variables = variables or {}
    # What a killed command leaves goes with the folder.
    environment = {**os.environ, "TMPDIR": _folder().name, **variables}
    environment = {name: value for name, value in environment.items() if value is not None}
    words = list(map(str, words))
    set_up = (str(output), environment, str(cwd), largest_file, session)
    if cold:
        return Command(_Cold(_popen(words, *set_up)), Path(output))
    assert "TF_ENABLE_ONEDNN_OPTS" not in variables, "This needs a cold start."
    early = {name: variables[name] for name in _READ_BY_IMPORTS & variables.keys()}
    process = warm_processes.start(_process, (words, before, *set_up), early)
    return Command(process, Path(output))


def run(*words, status=0, seconds=240, **options):
    """Runs a command to its end, which must have this exit status (None: any)."""
    command = start(None, *words, **options)
    received = command.status(seconds)
    assert status in (received, None), f"status {received}: {command.stdout}{command.stderr}"
    return command


def _popen(words, output, environment, cwd, largest_file, session):
    with contextlib.ExitStack() as stack:
        ends = {"in": "r", "out": "w", "err": "w"}
        files = {
            f"std{name}": stack.enter_context(open(f"{output}.{name}", mode))
            for name, mode in ends.items()
        }
        return subprocess.Popen(
            [sys.executable, *words],
            env=environment,
            cwd=cwd,
            start_new_session=session,
            preexec_fn=(lambda: _limit(largest_file)) if largest_file else None,
            **files,
        )


def _limit(largest_file):
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))


def _process(words, before, output, environment, cwd, largest_file, session):
    """What the interpreter does from its start to its end."""
    for number, ending, flags in (
        (0, "in", os.O_RDONLY),
        (1, "out", os.O_WRONLY),
        (2, "err", os.O_WRONLY),
    ):
        os.dup2(os.open(f"{output}.{ending}", flags), number)
    sys.stdin = open(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # that of TMPDIR
    os.chdir(cwd)
    if session:
        os.setsid()
    # multiprocessing's children ignore Ctrl-C, and may have no children of their own.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    processes.current_process()._config["daemon"] = False
    if largest_file:
        _limit(largest_file)
    if before:
        before()
    run_to_the_end(words)


def run_to_the_end(words):
    """Runs Python with these words in this process, which ends with their status."""
    status = _status(words)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def _status(words):
    try:
        _execute(words)
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _execute(words):
    # Here is also what pytest put in.
    kept = "site-packages", sys.base_prefix
    rest = [path for path in sys.path if any(part in path for part in kept)]
    variable = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    first = "" if words[0] == "-c" else os.path.dirname(os.path.abspath(words[0]))
    sys.path[:] = [first, *filter(None, variable), *rest]
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
