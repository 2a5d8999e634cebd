"""Files that were changed after they were written: by a person, a bad disk or somebody hostile."""

import contextlib
import itertools
import json
import os
import random
import time

from pipelines.shards import sealed_json


def change_json(path, *, without=(), seal=True, **entries):
    """Changes entries of a manifest or report, as a program of ours would write it."""
    content = {**json.loads(path.read_text()), **entries}
    for name in (*without, sealed_json.SEAL):
        content.pop(name, None)
    path.write_text(json.dumps(sealed_json.sealed(content) if seal else content))


def flipped(content, place, mask=None):
    """The bytes with one of them changed."""
    changed = bytearray(content)
    changed[place] ^= mask or 1 << place % 8
    return bytes(changed)


def mutations(content, count):
    """Changed files, each with the number that it can be made from again by `mutated`.

    KERAS_RMS_FUZZ_SECONDS goes on after `count` of them for so many seconds, with numbers that
    differ each time.
    """
    for number in range(count):
        yield number, mutated(content, number)
    seconds = float(os.environ.get("KERAS_RMS_FUZZ_SECONDS", 0))
    end = time.monotonic() + seconds
    for number in itertools.count(time.time_ns()) if seconds else ():
        if time.monotonic() > end:
            return
        yield number, mutated(content, number)


@contextlib.contextmanager
def named(number, content):
    """Says, if something fails, of which mutation."""
    try:
        yield
    except BaseException:
        print(f"This is mutated(..., {number}): {content[:300]!r}")
        raise


def mutated(content, number):
    """The bytes after one to three random changes such as people, disks and programs make."""
    chance = random.Random(number)
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(_CHANGES)(content, chance)
    return content


def _part(content, chance, longest=64):
    begin = chance.randrange(len(content) + 1)
    return begin, min(len(content), begin + chance.randint(1, longest))


def _flip(content, chance):
    if not content:
        return content
    return flipped(content, chance.randrange(len(content)), chance.randint(1, 255))


def _cut(content, chance):
    return content[: chance.randrange(len(content) + 1)]


def _remove(content, chance):
    begin, end = _part(content, chance)
    return content[:begin] + content[end:]


def _repeat(content, chance):
    begin, end = _part(content, chance)
    return content[:end] + content[begin:]


def _zero(content, chance):
    begin, end = _part(content, chance, 512)
    return content[:begin] + bytes(end - begin) + content[end:]


def _insert(content, chance):
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.choice(_ODD) + content[place:]


def _swap(content, chance):
    a, b, c = sorted(chance.randrange(len(content) + 1) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


_ODD = [b"\0", b"\xff\xff\xff\xff", b"\n", b"\r", b'"', b",", b"{", b"[" * 3000, b"-1", b"9" * 5000]
_ODD += [b"nan", b"1e999", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"null", b"\xe2\x80\xa8", b"#", b" "]
_CHANGES = [_flip, _cut, _remove, _repeat, _zero, _insert, _swap]
