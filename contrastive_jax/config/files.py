"""Config files: how one is loaded, and what the files of `configs/` share.

A config file has a function `get_config(variant)`, as `ml_collections` expects it.
"""

import os
import runpy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from contrastive_jax.config.arms import ARMS, contradicting
from contrastive_jax.config.shipped import config_file
from contrastive_jax.config.values import default

__all__ = ['MARGIN', 'SMALL_RESNET', 'config_of', 'load_config']

Values = Mapping[str, Any]

# The paper's strengths are in an appendix that we do not have; these are inside the grids that we
# search. The temperature scale is for the arms temperature and combined.
MARGIN: Values = {'arm': 'margin', 'pairs.margin': 0.1, 'pairs.temperature_scale': 0.7}

# A narrow ResNet that trains on a CPU.
SMALL_RESNET: Values = {
    'epochs': 2,
    'batch_size': 256,
    'model.width': 16,
    'model.stem': 'imagenet',
    'model.projector_width': 256,
    'optimizer.name': 'adamw',
    'optimizer.learning_rate': 2e-3,
    'optimizer.warmup_epochs': 0.5,
}


def config_of(
    file: str, variant: str, variants: Mapping[str, Values], shared: Values | None = None
) -> ConfigDict:
    """The config of one variant: the defaults, then the shared values, then those of the variant.

    Args:
      file: the config file, `__file__`.
      variant: name of the variant.
      variants: values of config fields for each variant; '' names the one without a name.
      shared: values of config fields that all variants share.

    Returns:
      A new config with every field.

    Raises:
      ValueError: there is no such variant, and the message lists all of them; or the values set
        an arm, and fields that the arm sets otherwise.
    """
    if variant not in variants:
        names = ', '.join(filter(None, variants)) + (', or none' if '' in variants else '')
        known = f'variants are {names}' if any(variants) else 'it has no variants'
        raise ValueError(f'{os.path.relpath(file)}:{variant}: {known}')
    values = {**(shared or {}), **variants[variant]}
    arm = values.get('arm')
    if arm in ARMS and (wrong := contradicting(arm, values)):
        raise ValueError(
            f'{os.path.relpath(file)}:{variant}: sets arm={arm!r}, which sets '
            f'{", ".join(wrong)} otherwise; leave these out, or choose another arm'
        )
    config = default()
    config.update_from_flattened_dict(values)
    return config


def load_config(name: str) -> ConfigDict:
    """Loads the config that `FILE` or `FILE:VARIANT` names, as the flag `--config` does.

    A file that comes with the package has a name without a path too, see `config_file`.

    Raises:
      OSError: the file cannot be read.
      KeyError: the file has no `get_config`.
      ValueError: the file has no such variant.
    """
    path, _, variant = config_file(name).partition(':')
    get_config = runpy.run_path(path)['get_config']
    return get_config(variant) if variant else get_config()
