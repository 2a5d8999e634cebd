"""Networks of few blocks, for tests in which more of the same blocks prove nothing more.

Every kind of block stays, and in each family one that follows another of its stage: with a
shortcut of nothing, the other temporal kernel, an attention block behind it.
"""

import contextlib
from unittest import mock

from keras_rms.models import csn, i3d, resnet_2d, s3d, slow_fast, slow_only

_BLOCKS = (1, 2, 2, 1)
_INCEPTION = ("mixed_3b", "mixed_4b", "mixed_4c", "mixed_5b", "mixed_5c")


@contextlib.contextmanager
def few_blocks():
    """While active, networks of 50 layers have fewer, and S3D has five blocks in place of nine."""
    kernels = {
        stage: lengths[:count]
        for (stage, lengths), count in zip(i3d.TEMPORAL_KERNELS.items(), _BLOCKS)
    }
    inception = {name: s3d.BLOCKS[name] for name in _INCEPTION}
    with contextlib.ExitStack() as changes:
        for table, entries, clear in (
            (slow_only.BLOCKS, {50: (_BLOCKS, True)}, False),
            (slow_fast.BLOCKS, {50: _BLOCKS}, False),
            (csn.BLOCKS, {50: _BLOCKS}, False),
            (resnet_2d.VARIANTS, {50: resnet_2d.VARIANTS[50]._replace(blocks=_BLOCKS)}, False),
            (i3d.TEMPORAL_KERNELS, kernels, True),
            (s3d.BLOCKS, inception, True),
        ):
            changes.enter_context(mock.patch.dict(table, entries, clear=clear))
        yield
