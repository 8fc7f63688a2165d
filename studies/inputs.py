"""The configs that the studies train with."""

import argparse

from ml_collections import ConfigDict

from contrastive_jax.config.files import load_config
from contrastive_jax.runtime.shell import expand_home

__all__ = ['add_config', 'config_from']


def add_config(parser: argparse.ArgumentParser, default: str = 'configs/digits.py') -> None:
    """Adds the options that `config_from` takes."""
    parser.add_argument('--config', default=default, help='file, with :variant')
    parser.add_argument('--data_dir', help='as config.data.data_dir')


def config_from(path: str, data_dir: str | None, epochs: int | None = None) -> ConfigDict:
    """The config of a file, with the folder of its data and its epochs replaced where they are set.

    Args:
      path: config file, with `:variant` if wanted.
      data_dir: instead of `config.data.data_dir`, or None.
      epochs: instead of `config.epochs`, or None.
    """
    config = load_config(path)
    if data_dir:
        config.data.data_dir = expand_home(data_dir)
    config.epochs = epochs or config.epochs
    return config
