"""The encoder in one file, in the format safetensors: arrays by name, and facts as strings.

The names are the places of the arrays in the model, such as `encoder.blocks.0.layers.1.norm.mean`.
Nothing is unpickled.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import refuse_pipe, write_bytes

__all__ = [
    'FORMAT_VERSION',
    'arrays_checksum',
    'filled',
    'named_arrays',
    'read_portable',
    'safetensors_bytes',
    'write_portable',
]

# To be increased whenever an older reader would misread the file.
FORMAT_VERSION = 1
_FORMAT = 'contrastive_jax.encoder'


def named_arrays(state: Any) -> dict[str, np.ndarray]:
    """The arrays of an NNX state, parameters or batch statistics, by their places in the model."""
    return {_name(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(state)}


def filled(state: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A state whose leaves are the arrays of their names.

    Args:
      state: tells names, shapes and types.
      arrays: by name.

    Returns:
      A tree of the structure of `state`, with NumPy arrays for leaves.

    Raises:
      ValueError: an array that is missing, or whose shape or type does not fit.
    """

    def fill(path, leaf):
        name = _name(path)
        if name not in arrays:
            raise ValueError(f'{name} is missing')
        array = arrays[name]
        if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f'{name} is {array.dtype} {list(array.shape)}, and the model of its config has '
                f'{leaf.dtype} {list(leaf.shape)}'
            )
        return array

    return jax.tree.map_with_path(fill, state)


def write_portable(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> None:
    """Writes arrays and facts whole, with a checksum of the arrays.

    Args:
      path: where to.
      arrays: by name.
      facts: what else a reader has to know.
    """
    own = {
        'format': _FORMAT,
        'format_version': str(FORMAT_VERSION),
        'arrays_sha256': arrays_checksum(arrays),
    }
    content = safetensors_bytes(arrays, {**facts, **own})
    write_bytes(path, content)


def read_portable(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads arrays and facts.

    Raises:
      UserError: no such file, or one that is damaged, something else's, or of a newer version.
    """
    refuse_pipe(path, str(path))
    try:
        # Opened here too, since the error of safetensors does not say what was wrong.
        path.open('rb').close()
        with safe_open(path, framework='numpy') as file:
            facts = file.metadata() or {}
            _check_format(path, facts)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise UserError(
            f'{path}: cannot be read ({error.strerror or error}); give the folder of a run, or its '
            'encoder.safetensors'
        ) from error
    except SafetensorError as error:
        raise UserError(
            f'{path}: is no safetensors file, or only a part of one ({error}); copy it again'
        ) from error
    if arrays_checksum(arrays) != facts.get('arrays_sha256'):
        raise UserError(f'{path}: damaged: the checksum of its arrays is another; copy it again')
    return arrays, facts


def safetensors_bytes(arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> bytes:
    """The content of a safetensors file; the same for the same arrays and facts.

    `safetensors` writes the facts in any order.
    """
    content = save({name: np.asarray(array, order='C') for name, array in arrays.items()})
    (length,) = struct.unpack('<Q', content[:8])
    header = {'__metadata__': dict(sorted(facts.items())), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(',', ':')).encode()
    # The data begin at a multiple of 8.
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + content[8 + length :]


def arrays_checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f'{name} {array.dtype.str} {array.shape} '.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_format(path: Path, facts: Mapping[str, str]) -> None:
    if facts.get('format') != _FORMAT:
        raise UserError(
            f'{path}: is a safetensors file of something else; give the encoder.safetensors of a '
            'run'
        )
    version = facts.get('format_version', '')
    if not version.isdecimal():
        raise UserError(
            f'{path}: damaged, or written by something else: its format_version is '
            f'{repr(version) if version else "missing"}; copy it again'
        )
    if int(version) > FORMAT_VERSION:
        raise UserError(
            f'{path}: has format version {version}, and this contrastive_jax reads up to '
            f'{FORMAT_VERSION}; install the newest'
        )


def _name(path: tuple) -> str:
    """A place in a state; NNX ends it with the attribute of its variable."""
    return jax.tree_util.keystr(path, simple=True, separator='.').removesuffix('.value')
