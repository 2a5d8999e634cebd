"""Networks of few blocks, for tests in which more of the same blocks prove nothing more.

Every kind of block stays, and in each residual family one that follows another of its stage: with
a shortcut of nothing, the other temporal kernel, an attention block behind it.
"""

import contextlib
from unittest import mock

from keras_rms.models import csn, i3d, resnet_2d, s3d, slow_fast, slow_only

_BLOCKS, _CIFAR = (1, 1, 2, 1), (1, 2, 1)
_INCEPTION = ("mixed_3b", "mixed_4b", "mixed_5b")


_installed = contextlib.ExitStack()


def install():
    """Does so for the rest of the process, with networks of 18 layers as well."""
    _installed.enter_context(few_blocks())
    _installed.enter_context(mock.patch.dict(slow_only.BLOCKS, {18: (_BLOCKS, False)}))


@contextlib.contextmanager
def few_blocks():
    """While active, networks of 20 and 50 layers have fewer, and S3D has three blocks of nine."""
    kernels = {
        stage: lengths[:count]
        for (stage, lengths), count in zip(i3d.TEMPORAL_KERNELS.items(), _BLOCKS)
    }
    variants = {
        depth: resnet_2d.VARIANTS[depth]._replace(blocks=blocks)
        for depth, blocks in ((20, _CIFAR), (50, _BLOCKS))
    }
    inception = {name: s3d.BLOCKS[name] for name in _INCEPTION}
    with contextlib.ExitStack() as changes:
        for table, entries, clear in (
            (slow_only.BLOCKS, {50: (_BLOCKS, True)}, False),
            (slow_fast.BLOCKS, {50: _BLOCKS}, False),
            (csn.BLOCKS, {50: _BLOCKS}, False),
            (resnet_2d.VARIANTS, variants, False),
            (i3d.TEMPORAL_KERNELS, kernels, True),
            (s3d.BLOCKS, inception, True),
        ):
            changes.enter_context(mock.patch.dict(table, entries, clear=clear))
        yield
