"""A ResNet's arrays under the names of torchvision, and in its layouts.

Axes: h w of a kernel, i channels in, o channels out.
"""

from collections.abc import Mapping

import numpy as np

from contrastive_jax.models.encoders import DEPTHS

__all__ = ['torchvision_arrays']

_NORM = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}


def torchvision_arrays(arrays: Mapping[str, np.ndarray], depth: int) -> dict[str, np.ndarray]:
    """Renames the arrays of an encoder, and turns kernels `[h, w, i, o]` into `[o, i, h, w]`.

    The classifier `fc` is not there. `num_batches_tracked`, which torchvision's state dicts hold
    and its evaluation ignores, is 0.

    Args:
      arrays: of a `ResNet`, by its names in `encoder.safetensors`.
      depth: 18, 34 or 50.

    Returns:
      The arrays by the names of `torchvision.models.resnet18(...).state_dict()`.
    """
    renamed = _conv_norm(arrays, 'encoder.stem', 'conv1', 'bn1')
    blocks, _ = DEPTHS[depth]
    positions = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
    for index, (stage, block) in enumerate(positions):
        ours, theirs = f'encoder.blocks.{index}', f'layer{stage + 1}.{block}'
        layers = sum(f'{ours}.layers.{layer}.conv.kernel' in arrays for layer in range(3))
        for layer in range(layers):
            names = f'{theirs}.conv{layer + 1}', f'{theirs}.bn{layer + 1}'
            renamed |= _conv_norm(arrays, f'{ours}.layers.{layer}', *names)
        if f'{ours}.shortcut.conv.kernel' in arrays:
            names = f'{theirs}.downsample.0', f'{theirs}.downsample.1'
            renamed |= _conv_norm(arrays, f'{ours}.shortcut', *names)
    return renamed


def _conv_norm(arrays: Mapping[str, np.ndarray], ours: str, conv: str, norm: str) -> dict:
    """A convolution and its batch norm."""
    kernel = arrays[f'{ours}.conv.kernel']
    return {
        f'{conv}.weight': np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)),
        **{f'{norm}.{new}': arrays[f'{ours}.norm.{old}'] for old, new in _NORM.items()},
        f'{norm}.num_batches_tracked': np.zeros((), np.int64),
    }
