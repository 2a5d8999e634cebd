"""Closing a port that a library opens on all addresses to everybody but this machine. Linux only.

TensorFlow's servers listen on 0.0.0.0 and can be told nothing else. The kernel can drop what does
not come from 127.0.0.0/8 before a connection begins: a filter on the listening socket, which every
process may attach to its own.
"""

import ctypes
import os
import socket
import struct

_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>; the socket module has no name for it
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF of <linux/filter.h>

# Classic BPF: operation, jumps if true and if false, operand.
_LOAD, _LOAD_BYTE, _AND, _IF_EQUAL, _RETURN = 0x20, 0x30, 0x54, 0x15, 0x06
_PROGRAM = (
    (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),  # version and length
    (_AND, 0, 0, 0xF0),
    (_IF_EQUAL, 0, 3, 0x40),  # IPv4, or on to IPv6
    (_LOAD, 0, 0, _NETWORK_HEADER + 12),  # the source
    (_AND, 0, 0, 0xFF000000),
    (_IF_EQUAL, 8, 9, 127 << 24),  # 127.0.0.0/8, or drop
    (_LOAD, 0, 0, _NETWORK_HEADER + 8),  # the source, of four words
    (_IF_EQUAL, 0, 7, 0),
    (_LOAD, 0, 0, _NETWORK_HEADER + 12),
    (_IF_EQUAL, 0, 5, 0),
    (_LOAD, 0, 0, _NETWORK_HEADER + 16),
    (_IF_EQUAL, 0, 3, 0),
    (_LOAD, 0, 0, _NETWORK_HEADER + 20),
    (_IF_EQUAL, 0, 1, 1),  # ::1, or drop
    (_RETURN, 0, 0, 0xFFFFFFFF),  # pass whole
    (_RETURN, 0, 0, 0),  # drop
)


def restrict(port: int) -> None:
    """Lets only this machine connect to a port on which this process listens.

    Raises:
        OSError: The system cannot do it, or this process does not listen there.
    """
    listeners = [_socket(number) for number in map(int, os.listdir("/proc/self/fd"))]
    found = False
    for listener in filter(None, listeners):
        with listener:
            if _listens_on(listener, port):
                _attach(listener)
                found = True
    if not found:
        raise OSError(f"no socket of this process listens on port {port}")


def _socket(descriptor: int) -> socket.socket | None:
    try:
        copy = os.dup(descriptor)
    except OSError:  # that of the listing itself, closed since
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def _listens_on(candidate: socket.socket, port: int) -> bool:
    if candidate.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    listening = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(listening) and candidate.getsockname()[1] == port


def _attach(listener: socket.socket) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _PROGRAM))
    program = struct.pack("HL", len(_PROGRAM), ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
