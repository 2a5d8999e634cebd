"""A picture of sample clips of each class, to look at what was converted."""

import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from pipelines.shards import records, split_index

# Pixels: of a frame, and of the line of text above it in Pillow's own font.
_HEIGHT = 112
_WIDTH = 150
_CAPTION = 18
_FRAMES = 5


def contact_sheet(
    index: split_index.Index, max_classes: int = 25, clips_per_class: int = 2
) -> np.ndarray:
    """Draws a row a class: frames at equal distances of its first clips in hash order.

    Args:
        index: The split's index.
        max_classes: Rows; of more classes, as many at equal distances are shown.
        clips_per_class: Clips in a row; five times as many of images.

    Returns:
        The image, uint8 of shape (height, width, 3).
    """
    labels = sorted(set(index.labels.tolist()))
    # At equal distances, so that a list sorted by class is seen to its end.
    chosen = np.linspace(0, len(labels) - 1, min(max_classes, len(labels))).round().astype(int)
    rows = [_row(index, labels[place], clips_per_class) for place in chosen]
    return np.concatenate(rows)


def _row(index: split_index.Index, label: int, clips: int) -> np.ndarray:
    row = Image.new("RGB", (clips * _FRAMES * _WIDTH, _CAPTION + _HEIGHT), "white")
    draw = ImageDraw.Draw(row)
    shown = 1 if index.num_frames.max() == 1 else _FRAMES
    width = shown * _WIDTH
    for clip, place in enumerate(np.flatnonzero(index.labels == label)[: row.width // width]):
        left = clip * width
        caption = _ascii(f"{label} {index.class_names[label]}: {index.keys[place]}")
        draw.text((left + 4, 2), caption[: width // 7], fill="black", font=ImageFont.load_default())
        try:
            frames = split_index.read_video(index, int(place)).frames
            images = _thumbnails(frames, shown)
        # Checksums may be right and a frame no JPEG all the same.
        except (records.DamagedRecordError, tf.errors.OpError):
            draw.text((left + 4, _CAPTION), "damaged", fill="red")
            continue
        for number, image in enumerate(images):
            row.paste(Image.fromarray(image), (left + number * _WIDTH, _CAPTION))
    return np.asarray(row)


def _ascii(text: str) -> str:
    """The text without accents, as the font that Pillow carries knows no others."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in letters)


def _thumbnails(frames: Sequence[bytes], count: int) -> list[np.ndarray]:
    places = np.linspace(0, len(frames) - 1, count).round().astype(int)
    images = [tf.io.decode_jpeg(frames[place], channels=3) for place in places]
    # Padded, not cut: what was converted shall be seen whole.
    padded = [tf.image.resize_with_pad(i, _HEIGHT, _WIDTH, antialias=True) for i in images]
    return [tf.cast(tf.clip_by_value(i, 0, 255), tf.uint8).numpy() for i in padded]
