"""Chains of libav's filters: what brings frames upright, to one size and to JPEG's colours."""

import collections
import struct
from collections.abc import Iterator
from typing import Any

import av
import av.filter
from av.sidedata.sidedata import Type as SideData

from pipelines.frames import high_dynamic_range
from pipelines.frames.frame_clock import TimedFrame
from pipelines.frames.matroska_crop import Crop

Filters = list[tuple[str, str | dict[str, str] | None]]

_RANGES = {1: "tv", 2: "pc"}
_UNKNOWN = 2  # where a frame says nothing
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
# JPEG files are BT.601 by definition, so these need no change of matrix.
_JPEG_MATRICES = ("bt470bg", "smpte170m")
_CONSTANT_LUMINANCE, _NEAREST = 10, 9  # both of BT.2020
_RED_GREEN_BLUE = 0
_HDR = {16: "PQ", 18: "HLG"}  # by the number of the transfer function
_LAST_SIDE_DATA = 63  # with room for the kinds of libav's that are to come


def form(frame: av.VideoFrame) -> tuple:
    """What decides the graph for a frame; a stream may change it midway."""
    colours = (frame.color_range, frame.colorspace, frame.color_trc, frame.color_primaries)
    return (frame.width, frame.height, frame.format.name, *colours)


def graph(frame: av.VideoFrame, filters: Filters) -> av.filter.Graph:
    """A chain of filters for frames like this one."""
    chain = av.filter.Graph()
    chain.threads = 1
    source = (
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000000"
        f":pixel_aspect=1/1:colorspace={_MATRICES.get(frame.colorspace, 'unknown')}"
        f":range={_RANGES.get(frame.color_range, 'unknown')}"
    )
    nodes = [_added(chain, *each) for each in [("buffer", source), *filters]]
    chain.link_nodes(*nodes, chain.add("buffersink")).configure()
    return chain


def _added(
    chain: av.filter.Graph, name: str, given: str | dict[str, str] | None
) -> av.filter.context.FilterContext:
    if not isinstance(given, dict):
        return chain.add(name, given)
    if name != "lut3d":
        return chain.add(name, **given)
    with high_dynamic_range.table_file(given["file"]) as path:  # the filter reads it at once
        return chain.add(name, **(given | {"file": path}))


def prepare_colours(frame: av.VideoFrame) -> str | None:
    """Replaces a matrix that libav cannot convert; gives a sentence where colours are changed."""
    if frame.color_trc in _HDR:
        return (
            f"its high dynamic range ({_HDR[frame.color_trc]}) was brought to the usual one: "
            "what is brighter than its reference white, 203 cd/m2, is white"
        )
    given = frame.colorspace
    if given in _MATRICES or given == _UNKNOWN:
        return None
    has_red_green_blue = frame.format.is_rgb or frame.format.name.startswith(("gbr", "pal", "mono"))
    if has_red_green_blue:
        return None
    if given == _CONSTANT_LUMINANCE:
        frame.colorspace = _NEAREST
        return "its colours of BT.2020 with constant luminance were read as those without"
    frame.colorspace = _UNKNOWN
    return f"its colour matrix has the number {given}, which was taken for BT.601"


def cropped_size(frame: av.VideoFrame, cut: Crop) -> tuple[int, int]:
    """Width and height of what is left; those of the frame if nothing would be."""
    width, height = frame.width - cut.left - cut.right, frame.height - cut.top - cut.bottom
    return (width, height) if width > 0 and height > 0 else (frame.width, frame.height)


def crop(frame: av.VideoFrame, cut: Crop) -> Filters:
    """The filter that cuts off the borders of frames like this one, if any."""
    size = cropped_size(frame, cut)
    if size == (frame.width, frame.height):
        return []
    return [("crop", f"{size[0]}:{size[1]}:{cut.left}:{cut.top}:exact=1")]


def scale(frame: av.VideoFrame, width: int, height: int) -> Filters:
    """The filters that bring frames like this one to a size and to the colours of JPEG files."""
    options = f"{width}:{height}:flags=bicubic:out_range=pc"
    if frame.color_trc in _HDR:
        return _standard_range(frame, width, height)
    matrix = _MATRICES.get(frame.colorspace)
    if matrix and matrix not in _JPEG_MATRICES:
        options += f":in_color_matrix={matrix}:out_color_matrix=smpte170m"
    return [("scale", options)]


def _standard_range(frame: av.VideoFrame, width: int, height: int) -> Filters:
    """Maps high dynamic range so that its reference white becomes white."""
    matrix = _MATRICES.get(frame.colorspace, "bt2020nc")
    to_red_green_blue = {
        "width": str(width),
        "height": str(height),
        "flags": "bicubic",
        "in_color_matrix": matrix,
        "out_range": "pc",
    }
    return [
        ("scale", to_red_green_blue),
        ("format", "gbrp12le"),
        ("lut3d", {"file": _HDR[frame.color_trc], "interp": "tetrahedral"}),
        ("scale", "out_range=pc:out_color_matrix=smpte170m"),
    ]


def deinterlaced(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """Deinterlaces from the first interlaced frame on; progressive videos pass untouched."""
    chain: av.filter.Graph | None = None
    chain_form = None
    waiting: collections.deque[TimedFrame] = collections.deque()
    for timed in frames:
        # Once begun the filter gets all frames: it needs the ones before and behind.
        if chain is None and not timed.frame.interlaced_frame:
            yield timed
            continue
        prepare_colours(timed.frame)
        if chain is None or form(timed.frame) != chain_form:
            yield from _flushed(chain, waiting)
            # One frame out for each in, so that the times of those waiting fit.
            chain = graph(timed.frame, [("bwdif", "mode=send_frame:deint=interlaced")])
            chain_form = form(timed.frame)
        waiting.append(timed)
        chain.vpush(timed.frame)
        yield from _pulled(chain, waiting)
    yield from _flushed(chain, waiting)


def _flushed(
    chain: av.filter.Graph | None, waiting: collections.deque[TimedFrame]
) -> Iterator[TimedFrame]:
    if chain is not None:
        chain.vpush(None)
        yield from _pulled(chain, waiting)
        waiting.clear()


def _pulled(chain: av.filter.Graph, waiting: collections.deque[TimedFrame]) -> Iterator[TimedFrame]:
    while waiting:
        try:
            frame = chain.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield waiting.popleft()._replace(frame=frame)


def turns(frame: av.VideoFrame) -> Filters:
    """The filters that bring a frame upright, from the display matrix in its metadata."""
    matrix = _display_matrix(frame)
    if matrix is None:
        return []
    a, b, _, c, d = matrix[:5]  # shown at x' = a x + c y, y' = b x + d y
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return [(name, None) for name, turned in (("hflip", a < 0), ("vflip", d < 0)) if turned]
    kinds = {
        (False, False): "cclock_flip",
        (True, False): "clock",
        (False, True): "cclock",
        (True, True): "clock_flip",
    }
    return [("transpose", kinds[c < 0, b < 0])]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    try:
        side_data = frame.side_data
    except ValueError:  # PyAV lists all kinds at once, and stops at one that it has no name for
        side_data = _without_unnamed(frame).side_data
    data: Any = side_data.get("DISPLAYMATRIX")
    return None if data is None else struct.unpack("=9i", bytes(data))


def _without_unnamed(frame: av.VideoFrame) -> av.VideoFrame:
    known = {kind.value for kind in SideData}
    unnamed = (kind for kind in range(_LAST_SIDE_DATA + 1) if kind not in known)
    chain = graph(frame, [("sidedata", f"mode=delete:type={kind}") for kind in unnamed])
    chain.vpush(frame)
    return chain.vpull()
