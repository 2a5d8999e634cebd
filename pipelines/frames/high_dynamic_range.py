"""A table that brings high dynamic range to the colours of usual screens.

libav's own conversion needs seconds for each video; filters that would be faster are not in every
build of it.
"""

import contextlib
import functools
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator

_WHITE = 203.0  # cd/m2 of HDR's reference white, ITU-R BT.2408
_HLG_PEAK = 1000.0  # cd/m2 of the screen that ITU-R BT.2100 assumes
_SCREEN_GAMMA = 2.4  # ITU-R BT.1886
_SIDE = 33  # entries of each axis; the filter interpolates between them
_LUMA = (0.2627, 0.6780, 0.0593)  # of BT.2020
# Linear BT.2020 to linear BT.709, ITU-R BT.2087.
_TO_709 = (
    (1.6605, -0.5876, -0.0728),
    (-0.1246, 1.1329, -0.0083),
    (-0.0182, -0.1006, 1.1187),
)

Colour = tuple[float, float, float]


@contextlib.contextmanager
def table_file(name: str) -> Iterator[str]:
    """While active, the path of a file with the table, in the form .cube.

    Not longer, because the process that decodes videos is ended by a kill, which would leave it.

    Args:
        name: `"PQ"` or `"HLG"`.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".cube") as file:
        file.write(_table(name))
        file.flush()
        yield file.name


@functools.cache
def _table(name: str) -> str:
    light = {"PQ": _light_of_pq, "HLG": _light_of_hlg}[name]
    steps = [number / (_SIDE - 1) for number in range(_SIDE)]
    lines = [f"LUT_3D_SIZE {_SIDE}"]
    # The form wants red to change fastest.
    for blue, green, red in itertools.product(steps, repeat=3):
        lines.append("{:.5f} {:.5f} {:.5f}".format(*_shown(light((red, green, blue)))))
    return "\n".join(lines) + "\n"


def _shown(light: Colour) -> Colour:
    """What a usual screen is told, so that it shows this light; above 1, what is too bright.

    The filter clips these after it has interpolated, which keeps what is just below white exact.
    """
    linear = (sum(part * value for part, value in zip(row, light)) / _WHITE for row in _TO_709)
    return tuple(max(value, 0.0) ** (1 / _SCREEN_GAMMA) for value in linear)


def _light_of_pq(signal: Colour) -> Colour:
    """SMPTE ST 2084: cd/m2 of each channel."""
    # As the standard writes them, and not rounded.
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128

    def light(value: float) -> float:
        power = value ** (1 / m2)
        return 10_000 * (max(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)

    return _each(light, signal)


def _light_of_hlg(signal: Colour) -> Colour:
    """ITU-R BT.2100: cd/m2 of each channel on its reference screen."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073

    def scene(value: float) -> float:
        return value**2 / 3 if value <= 0.5 else (math.exp((value - c) / a) + b) / 12

    colour = _each(scene, signal)
    luma = sum(weight * value for weight, value in zip(_LUMA, colour))
    # BT.2100's gamma is 1.2 at this peak; one power of it is in `value`.
    return _each(lambda value: _HLG_PEAK * luma**0.2 * value, colour)


def _each(function: Callable[[float], float], colour: Colour) -> Colour:
    red, green, blue = colour
    return function(red), function(green), function(blue)
