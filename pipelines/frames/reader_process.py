"""The process of `isolated_reader`: reads files for it, limited in memory and time.

Messages are a length and so many bytes. A request is JSON. The answer begins with a message that
the request was taken. Then follows JSON, which says why the file cannot be read or how many images
follow, each a message of its own.
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
        # The parent ends a process that hangs; this does if the parent is gone by then.
        faulthandler.dump_traceback_later(request["timeout"] + 5, exit=True)
        send(answers, TAKEN)  # if this process dies from here on, it may be for the file
        answers.flush()
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


def _answer(pipe: IO[bytes], path: str, settings: dict[str, Any]) -> None:
    try:
        clip = any_file.read_frames(path, **settings)
    except video_file.VideoError as error:
        send(pipe, json.dumps({"cause": error.cause, "lasting": error.lasting}).encode())
        return
    except MemoryError:
        cause = f"needs more than {_MEMORY_LIMIT >> 30} GiB"
        send(pipe, json.dumps({"cause": cause, "lasting": False}).encode())
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
