"""Makes one clock of a file whose clock starts anew or jumps.

Words:
    dts     the time at which a packet is decoded, in ticks of its stream
    jump    where it goes back, or ahead by more than a format's usual gaps
    offset  what is added to the times of all packets behind the jumps so far

Only the times of decoding tell a jump: in one clock they never go back, and those of display do at
every B frame. Both are then moved alike.
"""

import av

_LARGEST_GAP = 10  # seconds; a longer one is another clock's, by the rule of libav's programs


class PacketClock:
    """Shifts the times of packets, so that what comes next in the file is shown next.

    Files of parts that were joined, recordings of broadcasts and the cells of DVDs have clocks that
    start anew. Where the order of decoding goes back in time, or ahead by more than 10 s in a
    format that allows clocks to jump, the next packet follows on the one before it. These are the
    rules of libav's programs; there they hold for such formats only, and what goes back is
    dropped in others.

    Args:
        second: Ticks of one second.
        usual_ticks: How long a packet lasts that does not say so.
        may_jump: Whether the format allows clocks to jump.

    Attributes:
        jumps: How often the clock was set.
    """

    def __init__(self, second: int, usual_ticks: int, may_jump: bool):
        self.jumps = 0
        self._usual_ticks = usual_ticks
        self._ahead = _LARGEST_GAP * second if may_jump else None
        # Other formats derive times of decoding, and are then a few frames off.
        self._back = second // 10 if may_jump else second
        self._offset = 0
        self._last: int | None = None
        self._next: int | None = None

    def mend(self, packet: av.Packet) -> None:
        """Changes the times of the next packet in the file, where its clock is another."""
        if packet.dts is not None and not packet.is_discard:
            self._follow(packet.dts + self._offset, packet.duration or self._usual_ticks)
        if not self._offset:
            return
        if packet.pts is not None:
            packet.pts += self._offset
        if packet.dts is not None:
            packet.dts += self._offset

    def _follow(self, time: int, ticks: int) -> None:
        if self._next is not None and self._last is not None:
            gap = time - self._next
            is_ahead = self._ahead is not None and abs(gap) > self._ahead
            if is_ahead or time + self._back < self._last:
                # `time` has the old offset already, so that the new jump adds to those before.
                self._offset -= gap
                time = self._next
                self.jumps += 1
        self._last, self._next = time, time + ticks


class GifClock:
    """Shows the pictures of a GIF as long as browsers do: 0.01 s counts as 0.1 s.

    Such files are made without a thought for their speed. Delays of 0 are libav's work already.

    Attributes:
        jumps: Always 0.
    """

    jumps = 0
    _SHORTEST, _SHOWN = 1, 10  # ticks

    def __init__(self):
        self._offset = 0

    def mend(self, packet: av.Packet) -> None:
        """Changes the times of the next packet."""
        for name in ("pts", "dts"):
            if getattr(packet, name) is not None:
                setattr(packet, name, getattr(packet, name) + self._offset)
        duration = packet.duration or 0
        if 0 < duration <= self._SHORTEST:
            self._offset += self._SHOWN - duration
            packet.duration = self._SHOWN
