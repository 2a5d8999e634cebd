"""Damage of every kind to a file's bytes, by a seed."""

import numpy as np


def mutated(content, seed):
    """`content` with one to four changes: bytes replaced, cut out, repeated, or filled in."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(0, max(len(data), 1)))
        length = int(rng.choice([1, 1, 2, 4, 8, 64]))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[start : start + length] = rng.bytes(length)
        elif kind == 1:
            del data[start : start + length]
        elif kind == 2:
            data[start:start] = data[start : start + length] * int(rng.integers(1, 50))
        elif kind == 3:
            data[start : start + length] = b"\xff" * length
        elif kind == 4:
            elsewhere = int(rng.integers(0, max(len(data), 1)))
            data[start : start + length] = data[elsewhere : elsewhere + length]
        else:
            del data[start:]
    return bytes(data)
