"""Which of the two summands of a residual block is the branch, and which the shortcut."""

from typing import Any


def residual_branch(first: Any, second: Any) -> Any | None:
    """Of two tensors of a functional graph, the one with the longer way from where both part.

    They part at the last tensor that both derive from. That may be one of the two: then the
    shortcut is the identity. Ways are counted in layers; of several ways the longest counts.

    Args:
        first: Symbolic tensor.
        second: Symbolic tensor.

    Returns:
        The tensor that ends the branch; `None` where both are one tensor, where they derive from no
        common one, or where both ways are equally long.
    """
    ways, others = _ways_back(first), _ways_back(second)
    both = [(ways[tensor], others[tensor]) for tensor in ways.keys() & others.keys()]
    # Both ways to any tensor before the last common one lead through that, and are longer.
    nearest = min(map(sum, both), default=None)
    longer = {_sign(way - other) for way, other in both if way + other == nearest}
    return {frozenset({1}): first, frozenset({-1}): second}.get(frozenset(longer))


def _ways_back(tensor: Any) -> dict[int, int]:
    """Each tensor that this one derives from, by its id, and the layers of the longest way there.

    The tensor itself is there too, with 0.
    """
    ordered = _inputs_first(tensor)
    ways = {id(tensor): 0}
    for each in reversed(ordered):
        for source in _sources(each):
            ways[id(source)] = max(ways.get(id(source), 0), ways[id(each)] + 1)
    return ways


def _inputs_first(tensor: Any) -> list[Any]:
    """The tensor and all that it derives from, each after what it derives from."""
    ordered, seen = [], set()
    # Without recursion, since networks are deeper than Python's stack.
    waiting = [(tensor, False)]
    while waiting:
        each, sources_done = waiting.pop()
        if sources_done:
            ordered.append(each)
        elif id(each) not in seen:
            seen.add(id(each))
            waiting.append((each, True))
            waiting += [(source, False) for source in _sources(each)]
    return ordered


def _sources(tensor: Any) -> list[Any]:
    operation, node, _ = tensor._keras_history
    return operation._inbound_nodes[node].input_tensors


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
