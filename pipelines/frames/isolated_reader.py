"""Decode videos in a process of its own, so that a file that hangs or crashes it costs itself only.

The process imports neither TensorFlow nor NumPy, is limited in memory and time, and is replaced
when it dies. Answers come back as JSON and raw bytes, never as pickled objects, because the
process that sends them has just read a file from anywhere.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from pipelines.frames import reader_process, video_file

DEFAULT_TIMEOUT = 300.0
_ATTEMPTS = 3  # to find a process that lives until it takes a video
_LAST_LINES, _LINE = 20, 500  # what is kept of what a process prints: a traceback


class ReaderError(OSError):
    """The process that reads videos cannot start, so that every video would fail."""


class _UntakenError(Exception):
    """The process died before it took the video, which has nothing to do with that."""


class _Child(NamedTuple):
    """The other process, the pipes to and from it, and the file of what else it prints."""

    process: subprocess.Popen
    requests: IO[bytes]
    answers: IO[bytes]
    messages: IO[bytes]


class IsolatedReader:
    """`any_file.read_frames` in another process.

    Example:

    ```python
    with IsolatedReader(timeout=60) as reader:
        clip = reader.read_frames("video.mp4", fps=25, short_side=256)
    ```

    Args:
        timeout: Seconds after which a video is given up, and of a stream those without a frame.
    """

    def __init__(self, timeout: float = DEFAULT_TIMEOUT):
        if not timeout > 0:
            raise ValueError(f"`timeout` must be above 0 seconds. Received: timeout={timeout}")
        self._timeout = timeout
        self._child: _Child | None = None
        self._is_ready = False
        self._is_streaming = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def process_id(self) -> int | None:
        """The id of the process, if one runs."""
        return self._child.process.pid if self._child else None

    def read_frames(self, path: str, **settings: Any) -> video_file.EncodedFrames:
        """Encodes a file with the arguments of `any_file.read_frames`.

        Raises:
            video_file.VideoError: the video cannot be converted, took longer than the timeout, or
                made the process crash; then with the last lines that the process printed.
            ReaderError: The process died before it could take the video.
        """
        child, deadline = self._request(path, settings, stream=False)
        with self._explained(child, path, "decoding took more than"):
            answer = _checked(json.loads(_receive(child.answers, deadline)), path)
            images = [_receive(child.answers, deadline) for _ in range(answer["images"])]
        frames = [images[number] for number in answer["order"]]
        size = answer["height"], answer["width"]
        return video_file.EncodedFrames(frames, *size, answer["fps"], tuple(answer["notes"]))

    def stream_frames(self, path: str, **settings: Any) -> Iterator[tuple[bytes, int]]:
        """`any_file.stream_frames` in the other process, one stream at a time.

        It decodes a few frames ahead at most. A stream that is not taken to its end costs the
        process; close the generator then.

        Raises:
            video_file.VideoError: As for `read_frames`, but the timeout is one of each frame.
            ReaderError: The process died before it could take the video.
        """
        child, _ = self._request(path, settings, stream=True)
        self._is_streaming = True
        try:
            with self._explained(child, path, "no frame came for"):
                while True:
                    message = _receive(child.answers, time.monotonic() + self._timeout)
                    (copies,) = reader_process.LENGTH.unpack_from(message)
                    content = message[reader_process.LENGTH.size :]
                    if not copies:
                        break
                    yield content, copies
            self._is_streaming = False
            _checked(json.loads(content), path)
        finally:
            if self._is_streaming:
                self.close()

    def _request(self, path: str, settings: dict[str, Any], stream: bool) -> tuple[_Child, float]:
        """The process, once it has taken a video, and when its time is over."""
        if self._is_streaming:
            raise RuntimeError("The stream of another video has not been taken to its end.")
        for _ in range(_ATTEMPTS):
            deadline = time.monotonic() + self._timeout
            request = {
                "path": path,
                "settings": settings,
                "timeout": self._timeout,
                "stream": stream,
            }
            try:
                return self._sent(path, json.dumps(request).encode(), deadline), deadline
            except _UntakenError:
                continue  # where memory runs out, an idle process is what Linux ends first
        raise ReaderError(
            f"The process that reads videos died {_ATTEMPTS} times before it took one. The machine "
            "may lack memory: run fewer at a time, then the same command again."
        )

    def _sent(self, path: str, request: bytes, deadline: float) -> _Child:
        child = self._child or self._start()
        with self._explained(child, path, "decoding took more than", taken=False):
            if self._is_ready:
                # The process writes at the same position: what it said of earlier videos goes.
                child.messages.seek(0)
                child.messages.truncate()
            reader_process.send(child.requests, request)
            if not self._is_ready:
                _receive(child.answers, deadline)
                self._is_ready = True
            _receive(child.answers, deadline)
        return child

    @contextlib.contextmanager
    def _explained(
        self, child: _Child, path: str, slowness: str, taken: bool = True
    ) -> Iterator[None]:
        """Turns a silence and a death of the process into errors that name the video."""
        try:
            yield
        except TimeoutError as error:
            self.close()
            raise video_file.VideoError(
                path, f"given up: {slowness} {self._timeout:g} s", lasting=False
            ) from error
        except (EOFError, BrokenPipeError) as error:
            raise self._error_of_death(child, path, taken) from error

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._child is not None:
            self._child.process.kill()
            self._child.process.communicate()
            self._child.messages.close()
            self._child = None
        self._is_streaming = False

    def _start(self) -> _Child:
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        # In the place of the current folder, whose files may be called av.py.
        program = f"import sys; sys.path[0] = {root!r}; from pipelines.frames import reader_process"
        self._is_ready = False
        messages = tempfile.TemporaryFile()
        process = subprocess.Popen(
            [sys.executable, "-c", f"{program}; reader_process.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,  # not a pipe, which would fill up: nobody reads until the end
            # `_read` waits for the pipe itself, which a buffer may have emptied.
            bufsize=0,
            start_new_session=True,  # Ctrl-C goes to the parent, which then ends this one
        )
        if process.stdin is None or process.stdout is None:
            raise OSError("The pipes to the process that reads videos could not be made.")
        self._child = _Child(process, process.stdin, process.stdout, messages)
        return self._child

    def _error_of_death(self, child: _Child, path: str, taken: bool) -> Exception:
        status = child.process.wait()
        ending = f"end with status {status}" if status >= 0 else f"crash ({_name(-status)})"
        said = _last_words(child.messages)
        self.close()
        if self._is_ready and not taken:
            return _UntakenError()
        if taken:
            return video_file.VideoError(path, f"made the decoder {ending}{said}", lasting=False)
        return ReaderError(
            f"The process that reads videos cannot start, so that none can be read. Its imports "
            f"made it {ending}{said or '.'}\nCheck the installation of PyAV by "
            f"`{sys.executable} -c 'import av'`, then run the same command again."
        )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _last_words(messages: IO[bytes]) -> str:
    """The last lines that a process printed, behind a colon; nothing if there are none."""
    size = messages.seek(0, os.SEEK_END)
    messages.seek(max(0, size - (1 << 16)))
    lines = messages.read().decode(errors="replace").rstrip().splitlines()[-_LAST_LINES:]
    return "".join([":", *(f"\n  {line[:_LINE]}" for line in lines)]) if lines else ""


def _checked(answer: dict[str, Any], path: str) -> dict[str, Any]:
    if "cause" in answer:
        raise video_file.VideoError(path, answer["cause"], answer["lasting"])
    return answer


def _receive(pipe: IO[bytes], deadline: float) -> bytes:
    (length,) = reader_process.LENGTH.unpack(_read(pipe, reader_process.LENGTH.size, deadline))
    return _read(pipe, length, deadline)


def _read(pipe: IO[bytes], length: int, deadline: float) -> bytes:
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
