"""JSON files that carry a hash of what they say, so that a changed byte does not pass unnoticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "content_sha256"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content and the hash of it, to be written as JSON in any form."""
    return {**content, SEAL: _hash(content)}


def opened(text: bytes) -> dict[str, Any]:
    """What a file says, with its hash; older versions wrote none.

    Raises:
        ValueError: If the text is no JSON object, or not what was written.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    rest = {name: value for name, value in content.items() if name != SEAL}
    if content.get(SEAL, _hash(rest)) != _hash(rest):
        raise ValueError(f"its content was changed: it does not fit its {SEAL}")
    return content


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
