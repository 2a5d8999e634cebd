"""Which stage of a network a layer belongs to, by its name (see `layer_builder`)."""

import re

# A lateral connection of SlowFast belongs to the stage that it starts from.
_PATHWAY = re.compile(r"(slow|fast|lateral)_")
# S3D's blocks have Inception's names and stand at the resolutions of a ResNet's stages.
_MIXED = re.compile(r"mixed_(\d)")


def stage_of(layer_name: str) -> str:
    """The stage of a layer: "stem", "res2" to "res5", "head"; elsewhere its name up to "_".

    Example:

    >>> [stage_of(name) for name in ("slow_res2_block0_conv1", "mixed_3b_concat", "head_dense")]
    ['res2', 'res3', 'head']
    """
    name = layer_name[match.end() :] if (match := _PATHWAY.match(layer_name)) else layer_name
    mixed = _MIXED.match(name)
    return f"res{mixed[1]}" if mixed else name.split("_")[0]
