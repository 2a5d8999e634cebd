"""TFRecord files in pure Python, written from the format's description and not from our code."""

import struct

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed


def _entry(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_entry(byte) for byte in range(256)]


def masked_crc(content):
    """The checksum that stands behind a record's length and behind its data."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data):
    """A record that holds these bytes."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        [length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))]
    )


def is_record(content):
    """Whether these bytes are one whole record."""
    length, data = content[:8], content[12:-4]
    return (
        len(content) >= 16
        and struct.unpack("<Q", length)[0] == len(data)
        and struct.unpack("<I", content[8:12])[0] == masked_crc(length)
        and struct.unpack("<I", content[-4:])[0] == masked_crc(data)
    )


def places(content):
    """Where each record of a file begins, and its end at last."""
    begins = [0]
    while begins[-1] < len(content):
        begins.append(begins[-1] + struct.unpack_from("<Q", content, begins[-1])[0] + 16)
    return begins
