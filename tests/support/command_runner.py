"""Commands of scripts/ in processes that have imported TensorFlow already: each starts at once.

They are forked from the server that `small_training` describes.
"""

import os
import resource
import runpy
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import small_training
from paths import ROOT

# A training of seconds; see small_dataset.make_dataset for the data.
SMALL_TRAINING = (
    "--model=slow_only_18 --width=4 --crop_size=32 --num_frames=2 --span=8 --batch_size=8 "
    "--epochs=1 --warmup_epochs=0 --noflip --data_workers=1 --steps_per_call=1"
).split()


@dataclass
class Command:
    """One that was started; `status` waits for it."""

    process: BaseProcess
    output: Path

    def status(self, seconds=240):
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
        return " ".join(self.stderr[self.stderr.rindex("error: ") :].split())


def start(output, *words, variables=None, largest_file=None, before=None):
    """Starts a command, `words` as on the command line; what it prints goes to `output`.out, .err.

    `largest_file` bytes stand for a full disk. `before()` is called in the process first.
    """
    for ending in ("out", "err"):
        Path(f"{output}.{ending}").write_text("")
    arguments = (str(output), list(map(str, words)), variables or {}, largest_file, before)
    process = small_training.context().Process(target=_process, args=arguments, daemon=True)
    process.start()
    return Command(process, Path(output))


def _process(output, words, variables, largest_file, before):
    for number, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{ending}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    os.environ.update(variables)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if before:
        before()
    os.chdir(ROOT)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
