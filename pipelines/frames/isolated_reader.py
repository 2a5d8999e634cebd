"""Decode videos in a process of its own, so that a file that hangs or crashes it costs itself only.

The process imports neither TensorFlow nor NumPy, is limited in memory and time, and is replaced
when it dies. Answers come back as JSON and raw bytes, never as pickled objects, because the
process that sends them has just read a file from anywhere.
"""

import contextlib
import faulthandler
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from typing import Any, BinaryIO

from pipelines.frames import any_file, video_file

DEFAULT_TIMEOUT = 300.0
_MEMORY_LIMIT = 8 << 30  # bytes of address space
_LENGTH = struct.Struct("<Q")


class IsolatedReader:
    """`any_file.read_frames` in another process.

    Example:

    ```python
    with IsolatedReader(timeout=60) as reader:
        clip = reader.read_frames("video.mp4", fps=25, short_side=256)
    ```

    Args:
        timeout: seconds after which a video is given up.
    """

    def __init__(self, timeout: float = DEFAULT_TIMEOUT):
        if not timeout > 0:
            raise ValueError(f"`timeout` must be above 0 seconds. Received: timeout={timeout}")
        self._timeout = timeout
        self._process: subprocess.Popen | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def process_id(self) -> int | None:
        """The id of the process, if one runs."""
        return self._process.pid if self._process else None

    def read_frames(self, path: str, **settings: Any) -> video_file.EncodedFrames:
        """Encodes a file with the arguments of `any_file.read_frames`.

        Raises:
            video_file.VideoError: the video cannot be converted, took longer than the timeout, or
                made the process crash.
        """
        if self._process is None:
            self._process = _start()
        deadline = time.monotonic() + self._timeout
        request = {"path": path, "settings": settings, "timeout": self._timeout}
        try:
            _send(self._process.stdin, json.dumps(request).encode())
            answer = json.loads(_receive(self._process.stdout, deadline))
            if "cause" in answer:
                raise video_file.VideoError(path, answer["cause"], answer["lasting"])
            images = [_receive(self._process.stdout, deadline) for _ in range(answer["images"])]
        except TimeoutError as error:
            self.close()
            raise video_file.VideoError(
                path, f"given up: decoding took more than {self._timeout:g} s", lasting=False
            ) from error
        except (EOFError, BrokenPipeError) as error:
            raise video_file.VideoError(path, self._cause_of_death(), lasting=False) from error
        frames = [images[number] for number in answer["order"]]
        return video_file.EncodedFrames(frames, answer["height"], answer["width"], answer["fps"])

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _cause_of_death(self) -> str:
        status = self._process.wait()
        self.close()
        if status < 0:
            return f"made the decoder crash ({signal.Signals(-status).name})"
        return f"made the decoder end with status {status}"


def _start() -> subprocess.Popen:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # In the place of the current folder, whose files may be called av.py.
    program = (
        f"import sys; sys.path[0] = {root!r}; from pipelines.frames import isolated_reader as it"
    )
    return subprocess.Popen(
        [sys.executable, "-c", f"{program}; it.serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # Ctrl-C goes to the parent, which then ends this one
    )


def _send(pipe: BinaryIO, message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)) + message)


def _receive(pipe: BinaryIO, deadline: float) -> bytes:
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))
    return _read(pipe, length, deadline)


def _read(pipe: BinaryIO, length: int, deadline: float) -> bytes:
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(content) < length:
            if not selector.select(max(0, deadline - time.monotonic())):
                raise TimeoutError
            part = os.read(pipe.fileno(), min(length - len(content), 1 << 20))
            if not part:
                raise EOFError
            content += part
    return bytes(content)


def serve() -> None:
    """The other process: answers requests until its input is closed."""
    _limit_memory()
    _offer_to_die_first()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(_LENGTH.size):
        request = json.loads(requests.read(*_LENGTH.unpack(header)))
        # The parent ends a process that hangs; this does if the parent is gone by then.
        faulthandler.dump_traceback_later(request["timeout"] + 5, exit=True)
        _answer(answers, request["path"], request["settings"])
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


def _limit_memory() -> None:
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = _MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(hard, _MEMORY_LIMIT)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, ValueError, OSError):
        pass  # a platform without limits


def _offer_to_die_first() -> None:
    """Where memory runs out, Linux shall end this process and not one that holds results."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _answer(pipe: BinaryIO, path: str, settings: dict[str, Any]) -> None:
    try:
        clip = any_file.read_frames(path, **settings)
    except video_file.VideoError as error:
        _send(pipe, json.dumps({"cause": error.cause, "lasting": error.lasting}).encode())
        return
    except MemoryError:
        cause = f"needs more than {_MEMORY_LIMIT >> 30} GiB"
        _send(pipe, json.dumps({"cause": cause, "lasting": False}).encode())
        return
    # Repeated frames are one object: they go through the pipe once.
    places: dict[int, int] = {}
    order = [places.setdefault(id(frame), len(places)) for frame in clip.frames]
    images = {id(frame): frame for frame in clip.frames}
    header = {
        "images": len(places),
        "order": order,
        "height": clip.height,
        "width": clip.width,
        "fps": clip.fps,
    }
    _send(pipe, json.dumps(header).encode())
    for place in places:
        _send(pipe, images[place])
