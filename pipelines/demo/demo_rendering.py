"""Procedural action videos as arrays: a textured shape that moves over a drifting background.

The class is *what moves and how*. Each class is a motion with a shape and a texture that usually go
with it, as in real video, where people who bowl are seen in bowling alleys: a video shows its
class's own shape with probability `TYPICAL_SHAPE` and its own texture with `TYPICAL_TEXTURE`, else
any other. Colours, background, start, size, speed, a slow sway of the object and a drift of the
camera say nothing about the class.

Flip rule: mirroring left and right turns no class into another one (a slide goes to either side, a
spin turns either way), so training may flip. Turned upside down or run backwards, several become
another: rise and fall, grow and shrink, part and meet.
"""

import dataclasses
import math
import zlib

import numpy as np

TYPICAL_SHAPE = 0.6
TYPICAL_TEXTURE = 0.6
FPS = 25
SMALLEST = 32  # pixels: below, shapes and textures are blots

_TAU = 2 * np.pi
# The background's noise: cells across the short side, strength of each.
_BACKGROUND = ((3, 0.12), (8, 0.08), (20, 0.04))


def _polygon(u: np.ndarray, v: np.ndarray, corners: int) -> np.ndarray:
    angles = (np.arange(corners) + 0.5) / corners * _TAU - np.pi / 2
    sides = [u * np.cos(a) + v * np.sin(a) for a in angles]
    return np.max(sides, axis=0) - np.cos(np.pi / corners)


def _petals(u: np.ndarray, v: np.ndarray, count: int, depth: float) -> np.ndarray:
    return (
        np.hypot(u, v) - (1 - depth) - depth * np.cos(count * np.arctan2(v, u) + np.pi / 2 * count)
    )


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(u, v) - 1, 0.75 - np.hypot(u - 0.5, v))


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


# Distance-like functions of object coordinates, negative inside, of radius about 1.
_SHAPES = {
    "triangle": lambda u, v: _polygon(u, v, 3),
    "disc": lambda u, v: np.hypot(u, v) - 0.85,
    "square": lambda u, v: _box(u, v, 0.8, 0.8),
    "star": lambda u, v: _petals(u, v, 5, 0.3),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.7) - 0.25,
    "cross": lambda u, v: np.minimum(_box(u, v, 1.0, 0.33), _box(u, v, 0.33, 1.0)),
    "bar": lambda u, v: _box(u, v, 1.1, 0.4),
    "crescent": _crescent,
    "clover": lambda u, v: _petals(u, v, 3, 0.35),
    "arch": lambda u, v: np.maximum(np.abs(np.hypot(u, v) - 0.75) - 0.25, v),
    "hexagon": lambda u, v: _polygon(u, v, 6),
    "pair": lambda u, v: np.hypot(np.abs(u) - 0.6, v) - 0.45,
}


def _soft(wave: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 1.5 * wave, 0, 1)


# Mixing weights in [0, 1] of the object's two colours, over object coordinates.
_TEXTURES = {
    "stripes": lambda u, v: _soft(np.sin(7 * u)),
    "bands": lambda u, v: _soft(np.sin(4 * v)),
    "checks": lambda u, v: _soft(np.sin(5 * u) * np.sin(5 * v)),
    "dots": lambda u, v: _soft(np.cos(6 * u) + np.cos(6 * v) - 0.9),
    "rings": lambda u, v: _soft(np.sin(9 * np.hypot(u, v))),
    "sectors": lambda u, v: _soft(np.sin(4 * np.arctan2(v, u))),
    "half": lambda u, v: _soft(4 * u),
    "shade": lambda u, v: np.clip(0.5 + 0.5 * v, 0, 1),
    "core": lambda u, v: _soft(6 * (0.5 - np.hypot(u, v))),
    "spiral": lambda u, v: _soft(np.sin(2 * np.arctan2(v, u) + 6 * np.hypot(u, v))),
    "diagonals": lambda u, v: _soft(np.sin(4.5 * (u + v))),
    "grid": lambda u, v: _soft(np.maximum(np.cos(7 * u), np.cos(7 * v)) - 0.7),
}


@dataclasses.dataclass
class Path:
    """Where an object is at each frame; lengths in frame heights, angles in radians."""

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    squeeze: np.ndarray  # width over height: a turn about the upright axis seen from the front
    copies: np.ndarray  # half the distance between two copies; one object where all is 0


def _still(time: np.ndarray) -> Path:
    zero = np.zeros_like(time)
    return Path(zero, zero, zero + 1, zero, zero + 1, zero)


def _progress(time: np.ndarray) -> np.ndarray:
    return np.linspace(-1, 1, len(time))


def _line(time: np.ndarray, rng: np.random.Generator, axis: str, sign: float) -> Path:
    reach = rng.uniform(0.2, 0.35)
    return dataclasses.replace(_still(time), **{axis: sign * reach * _progress(time)})


def _zoom(time: np.ndarray, rng: np.random.Generator, sign: float) -> Path:
    factor = rng.uniform(1.35, 1.7)
    return dataclasses.replace(_still(time), scale=factor ** (sign * _progress(time)))


def _spin(time: np.ndarray, rng: np.random.Generator) -> Path:
    rate = rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)
    return dataclasses.replace(_still(time), angle=_TAU * rate * time)


def _phase(
    time: np.ndarray, rng: np.random.Generator, shortest: float, longest: float
) -> np.ndarray:
    return _TAU * (time / rng.uniform(shortest, longest) + rng.uniform())


def _bounce(time: np.ndarray, rng: np.random.Generator) -> Path:
    height = np.abs(np.sin(_phase(time, rng, 1.6, 2.4)))
    return dataclasses.replace(_still(time), y=rng.uniform(0.3, 0.45) * (0.6 - height))


def _swing(time: np.ndarray, rng: np.random.Generator) -> Path:
    angle = rng.uniform(0.5, 0.9) * np.sin(_phase(time, rng, 1.2, 2.0))
    rope = rng.uniform(0.35, 0.5)
    return dataclasses.replace(
        _still(time), x=rope * np.sin(angle), y=rope * (np.cos(angle) - 0.9), angle=-angle
    )


def _orbit(time: np.ndarray, rng: np.random.Generator) -> Path:
    phase = rng.choice([-1, 1]) * _phase(time, rng, 1.4, 2.4)
    radius = rng.uniform(0.16, 0.26)
    return dataclasses.replace(_still(time), x=radius * np.cos(phase), y=radius * np.sin(phase))


def _turn(time: np.ndarray, rng: np.random.Generator) -> Path:
    return dataclasses.replace(_still(time), squeeze=np.cos(_phase(time, rng, 1.4, 2.4)))


def _copies(time: np.ndarray, rng: np.random.Generator, sign: float) -> Path:
    reach = rng.uniform(0.17, 0.27)
    return dataclasses.replace(
        _still(time),
        copies=reach * (1 + sign * _progress(time)),
        scale=np.full_like(time, 0.75),
    )


# class: (motion, shape, texture)
CLASSES = {
    "rise": (lambda t, rng: _line(t, rng, "y", -1), "triangle", "stripes"),
    "fall": (lambda t, rng: _line(t, rng, "y", 1), "square", "dots"),
    "slide": (lambda t, rng: _line(t, rng, "x", rng.choice([-1, 1])), "bar", "checks"),
    "spin": (_spin, "cross", "half"),
    "grow": (lambda t, rng: _zoom(t, rng, 1), "star", "rings"),
    "shrink": (lambda t, rng: _zoom(t, rng, -1), "clover", "sectors"),
    "bounce": (_bounce, "disc", "bands"),
    "orbit": (_orbit, "crescent", "core"),
    "swing": (_swing, "ring", "diagonals"),
    "turn": (_turn, "hexagon", "grid"),
    "part": (lambda t, rng: _copies(t, rng, 1), "arch", "shade"),
    "meet": (lambda t, rng: _copies(t, rng, -1), "pair", "spiral"),
}


def _choose(rng: np.random.Generator, typical: str, probability: float, names: list[str]) -> str:
    others = [name for name in names if name != typical]
    # Drawn in any case, so that the numbers drawn after it do not depend on the outcome.
    other = others[rng.integers(len(others))]
    return typical if rng.uniform() < probability else other


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """A dull background colour, and a bright and a second colour for the object."""
    background = rng.uniform(0.2, 0.5) + rng.uniform(-0.12, 0.12, 3)
    hue = rng.uniform(0, 1) + np.array([0, 1, 2]) / 3
    bright = np.clip(0.75 + 0.45 * np.cos(_TAU * hue), 0, 1)
    second = bright[rng.permutation(3)] * rng.uniform(0, 0.3)
    return background.astype(np.float32), [
        bright.astype(np.float32),
        second.astype(np.float32),
    ]


def _enlarge(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear enlargement of (h, w, 3) to (height, width, 3)."""

    def weights(size: int, cells: int) -> np.ndarray:
        position = np.linspace(0, cells - 1, size)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))

    rows, columns = weights(height, grid.shape[0]), weights(width, grid.shape[1])
    return np.moveaxis(rows @ np.moveaxis(grid, 2, 0) @ columns.T, 0, 2)


def _background(
    rng: np.random.Generator, mean: np.ndarray, num_frames: int, height: int, width: int
) -> tuple:
    """Frames (T, H, W, 3) of smooth noise under a camera that drifts, and the camera's path."""
    # How far the camera can drift to each side.
    margin = height // 6
    canvas = np.zeros((height + 2 * margin + 2, width + 2 * margin + 2, 3))
    for cells, strength in _BACKGROUND:
        grid = rng.uniform(-1, 1, (cells, cells * 4 // 3, 3))
        canvas += strength * _enlarge(grid, *canvas.shape[:2])
    canvas = np.clip(canvas + mean, 0, 1).astype(np.float32)
    time = np.linspace(0, 1, num_frames)
    path = []
    for _ in range(2):
        sway = rng.uniform(0.2, 0.9) * np.sin(_TAU * (rng.uniform(0.2, 0.7) * time + rng.uniform()))
        path.append(margin * np.clip(sway, -1, 1))
    frames = np.empty((num_frames, height, width, 3), np.float32)
    for frame, dy, dx in zip(frames, path[0].tolist(), path[1].tolist()):
        y, x = margin + dy, margin + dx
        top, left = int(y), int(x)
        fy, fx = y - top, x - left
        part = canvas[top : top + height + 1, left : left + width + 1]
        rows = part[:-1] * (1 - fy) + part[1:] * fy
        frame[:] = rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx
    return frames, path


def _draw(
    frame: np.ndarray,
    centre: tuple[float, float],
    pose: tuple[float, float, float],
    shape: str,
    texture: str,
    colours: list[np.ndarray],
) -> None:
    """Draws one object over an (H, W, 3) frame in place; centre (x, y) and radius in pixels."""
    (x, y), (radius, angle, squeeze) = centre, pose
    height, width, _ = frame.shape
    # The longest shape, a bar, ends at 1.17 radii; its soft edge is one pixel wide.
    reach = 1.2 * radius + 1
    top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 2)
    left, right = max(0, int(x - reach)), min(width, int(x + reach) + 2)
    if top >= bottom or left >= right:
        return
    dx = np.arange(left, right, dtype=np.float32) - x
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] - y
    cos, sin = math.cos(angle), math.sin(angle)
    # Seen from its edge an object is a thin line still, and u stays finite.
    squeeze = squeeze if abs(squeeze) > 0.08 else 0.08
    u, v = (cos * dx + sin * dy) / (radius * squeeze), (cos * dy - sin * dx) / radius
    cover = np.clip(0.5 - _SHAPES[shape](u, v) * radius * abs(squeeze), 0, 1)[..., None]
    mix = _TEXTURES[texture](u, v)[..., None]
    first, second = colours
    window = frame[top:bottom, left:right]
    window += cover * (first + mix * (second - first) - window)


def render_video(
    class_name: str,
    *,
    split: str,
    index: int,
    seed: int = 0,
    width: int = 96,
    height: int = 72,
    num_frames: int = 75,
    typical_shape: float = TYPICAL_SHAPE,
    typical_texture: float = TYPICAL_TEXTURE,
) -> np.ndarray:
    """Renders one video, a pure function of its arguments.

    Example:

    >>> render_video("spin", split="train", index=0).shape
    (75, 72, 96, 3)

    Args:
        class_name: One of `CLASSES`.
        split: Name of the split; videos of two splits are drawn independently.
        index: Number of the video within its class and split.
        seed: Non-negative seed of the whole dataset.
        width, height: Size in pixels, at least 32.
        num_frames: Number of frames, at 25 a second.
        typical_shape, typical_texture: Probability that the class's own shape or texture is shown.

    Returns:
        uint8 RGB frames of shape (num_frames, height, width, 3).

    Raises:
        ValueError: On an unknown class or a size or length out of range.
    """
    if class_name not in CLASSES:
        raise ValueError(
            f"`class_name` must be one of {', '.join(CLASSES)}. Received: class_name={class_name}"
        )
    for name, value, least in (
        ("width", width, SMALLEST),
        ("height", height, SMALLEST),
        ("num_frames", num_frames, 2),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {name}={value}")
    motion, own_shape, own_texture = CLASSES[class_name]
    # By checksums of the names: Python's own hash differs from process to process.
    rng = np.random.default_rng(
        [seed, zlib.crc32(split.encode()), zlib.crc32(class_name.encode()), index]
    )
    time = np.arange(num_frames) / FPS
    shape = _choose(rng, own_shape, typical_shape, list(_SHAPES))
    texture = _choose(rng, own_texture, typical_texture, list(_TEXTURES))
    mean, colours = _colours(rng)
    frames, camera = _background(rng, mean, num_frames, height, width)

    path = motion(time, rng)
    sway = [
        amount * np.sin(_phase(time, rng, 3.0, 6.0)) for amount in rng.uniform(0, [0.06, 0.06, 0.2])
    ]
    # Lengths are in frame heights; so many of them is the width.
    aspect = width / height
    centre_x = rng.uniform(-0.2, 0.2) * aspect + path.x + sway[0]
    centre_y = rng.uniform(-0.12, 0.12) + path.y + sway[1]
    path.angle = path.angle + rng.uniform(-0.4, 0.4) + sway[2]
    path.scale = path.scale * rng.uniform(0.22, 0.32) * height
    tilt = rng.uniform(-0.5, 0.5)
    sides = (-1, 1) if path.copies.any() else (0,)
    for side in sides:
        x = (centre_x + side * path.copies * np.cos(tilt)) * height + width / 2 - camera[1]
        y = (centre_y + side * path.copies * np.sin(tilt)) * height + height / 2 - camera[0]
        poses = zip(path.scale.tolist(), path.angle.tolist(), path.squeeze.tolist())
        for frame, centre, pose in zip(frames, zip(x.tolist(), y.tolist()), poses):
            _draw(frame, centre, pose, shape, texture, colours)
    return (frames * 255 + 0.5).astype(np.uint8)
