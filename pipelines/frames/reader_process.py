"""The process of `isolated_reader`: reads files for it, limited in memory and time.

Messages are a length and so many bytes. A request is JSON. The answer begins with a message that
the request was taken. Then follows JSON, which says why the file cannot be read or how many images
follow, each a message of its own.

Of a stream each image is a message with the number of its frames before it. With 0 comes JSON that
ends it. Who reads them slowly makes this process wait, and nothing piles up.
"""

import contextlib
import faulthandler
import json
import struct
import sys
from typing import IO, Any

from pipelines.frames import any_file, video_file

LENGTH = struct.Struct("<Q")
TAKEN = b"taken"
_MEMORY_LIMIT = 8 << 30  # bytes of address space


def send(pipe: IO[bytes], message: bytes) -> None:
    """Writes one message."""
    pipe.write(LENGTH.pack(len(message)) + message)


def serve() -> None:
    """Says that it is ready, then answers requests until its input is closed."""
    _limit_memory()
    _offer_to_die_first()
    faulthandler.enable()  # a crash leaves the lines of Python that led to it
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    send(answers, b"ready")
    answers.flush()
    while header := requests.read(LENGTH.size):
        request = json.loads(requests.read(*LENGTH.unpack(header)))
        send(answers, TAKEN)  # if this process dies from here on, it may be for the file
        answers.flush()
        answer = _stream if request["stream"] else _answer
        answer(answers, request["timeout"], request["path"], request["settings"])
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


def _end_if_silent(seconds: float) -> None:
    """The parent ends a process that hangs; this does if the parent is gone by then."""
    faulthandler.dump_traceback_later(seconds + 5, exit=True)


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


def _answer(pipe: IO[bytes], timeout: float, path: str, settings: dict[str, Any]) -> None:
    _end_if_silent(timeout)
    try:
        clip = any_file.read_frames(path, **settings)
    except (video_file.VideoError, MemoryError) as error:
        send(pipe, _failure(error))
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
        "notes": clip.notes,
    }
    send(pipe, json.dumps(header).encode())
    for place in places:
        send(pipe, images[place])


def _stream(pipe: IO[bytes], timeout: float, path: str, settings: dict[str, Any]) -> None:
    end = b"{}"
    _end_if_silent(timeout)
    try:
        for image, copies in any_file.stream_frames(path, **settings):
            # The pipe may be full for as long as the parent works on what it has.
            faulthandler.cancel_dump_traceback_later()
            send(pipe, LENGTH.pack(copies) + image)
            pipe.flush()
            _end_if_silent(timeout)
    except (video_file.VideoError, MemoryError) as error:
        end = _failure(error)
    send(pipe, LENGTH.pack(0) + end)


def _failure(error: video_file.VideoError | MemoryError) -> bytes:
    if isinstance(error, MemoryError):
        error = video_file.VideoError("", f"needs more than {_MEMORY_LIMIT >> 30} GiB", False)
    return json.dumps({"cause": error.cause, "lasting": error.lasting}).encode()
