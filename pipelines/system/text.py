"""Text that is the same on every machine: hashes, and names that can be printed."""

import hashlib


def stable_hash(text: str) -> int:
    """A hash of 64 bits that is the same on every run and machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def printable(path: str) -> str:
    """A file's name as Unicode; bytes that are no UTF-8 become escapes such as `\\udcff`."""
    return path.encode("utf-8", "backslashreplace").decode()
