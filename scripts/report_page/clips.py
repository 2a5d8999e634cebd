"""Videos of a converted split as small animations."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

_HEIGHT = 96
_FRAMES = 16
_SECONDS = 2.0  # that an animation lasts, whatever the video's length


def animated(encoded: Sequence[bytes]) -> bytes:
    """An animated WebP of frames at equal distances.

    Args:
        encoded: The JPEGs of all frames of a video.
    """
    places = np.linspace(0, len(encoded) - 1, min(_FRAMES, len(encoded))).round().astype(int)
    images = [_small(Image.open(io.BytesIO(encoded[place]))) for place in places]
    content = io.BytesIO()
    images[0].save(
        content,
        format="webp",
        save_all=True,
        append_images=images[1:],
        duration=int(1000 * _SECONDS / len(images)),
        loop=0,
        quality=60,
    )
    return content.getvalue()


def _small(image: Image.Image) -> Image.Image:
    width = max(1, round(image.width * _HEIGHT / image.height))
    return image.convert("RGB").resize((width, _HEIGHT), Image.Resampling.LANCZOS)
