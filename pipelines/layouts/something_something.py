"""Something-Something-v2, from the JSON files of its owners."""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import TypeVar

from pipelines.layouts import annotations
from pipelines.system.text import printable

_PREFIX = "something-something-v2-"


def something_something_v2(source: annotations.Source) -> annotations.Listing:
    """Lists one split: `<id>.webm`, labelled by templates such as `Putting [something] on [...]`.

    Class ids are those of `labels.json`, because checkpoints and the pairs of classes that swap
    left and right are numbered so.

    Args:
        source: `annotations` is the folder of `labels.json`, `train.json` and `validation.json`.
    """
    what = "FOLDER (labels.json, train.json, validation.json)"
    if source.annotations is not None and os.path.isfile(source.annotations):
        raise ValueError(
            f"Something-Something-v2 needs --annotations={what}. "
            f"Received: annotations={source.annotations}"
        )
    labels_file = source.list_file(["labels.json", f"{_PREFIX}labels.json"], what)
    numbers = {template: str(number) for template, number in _load(labels_file, dict).items()}
    if set(numbers.values()) != {str(number) for number in range(len(numbers))}:
        raise ValueError(f"{labels_file} does not number its {len(numbers)} templates from 0 on.")
    ids = {template: int(number) for template, number in numbers.items()}
    clips_file = source.list_file(["{split}.json", f"{_PREFIX}{{split}}.json"], what)
    return annotations.Listing(
        annotations.check_class_names(sorted(ids, key=ids.__getitem__), labels_file),
        functools.partial(_clips, source, clips_file, ids),
    )


Content = TypeVar("Content", dict, list)


def _load(path: str, kind: type[Content]) -> Content:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a {kind.__name__}.")
    return content


def _clips(
    source: annotations.Source, path: str, ids: Mapping[str, int]
) -> Iterator[annotations.Clip]:
    for entry in _load(path, list):
        entry = entry if isinstance(entry, dict) else {}
        template, name = entry.get("template"), entry.get("id")
        if not isinstance(template, str) or not isinstance(name, str | int):
            raise ValueError(
                f"{path}: each entry must have an id and a template, which those of the test split "
                f"lack; only splits with templates can be converted. Received: {entry}"
            )
        # The lists write [something], labels.json something.
        label = ids.get(template.replace("[", "").replace("]", ""))
        if label is None:
            raise ValueError(f"{path} uses a template that labels.json lacks: {template!r}")
        yield annotations.Clip(printable(str(name)), f"{name}.webm", label)
