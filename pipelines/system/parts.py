"""Parts of some work that several machines share, as a flag names them: K/N."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Every `count`th piece of some work, from the `number`th on: what one machine of several does.

    Example:

    >>> [piece for piece in range(7) if piece in Part(2, 3)]
    [1, 4]

    Attributes:
        number: From 1 to `count`.
        count: How many parts there are.

    Raises:
        ValueError: There is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"A part K/N must be from 1/N to N/N. Received: {self.number}/{self.count}"
            )

    def __contains__(self, piece: int) -> bool:
        return piece % self.count == self.number - 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all there is."""
        return self.count == 1


WHOLE = Part()


def part_of(flag: str, text: str | None) -> Part:
    """'2/3' -> Part(2, 3); the whole of None.

    Args:
        flag: The flag's name, for the message.
        text: Its value.

    Raises:
        ValueError: There is no such part.
    """
    if text is None:
        return WHOLE
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    try:
        return Part(*map(int, match.groups() if match else (0, 0)))
    except ValueError as error:
        raise ValueError(
            f"--{flag} must be K/N, from 1/N to N/N, as in 1/3. Received: --{flag}={text}"
        ) from error
