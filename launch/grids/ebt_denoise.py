"""Denoising by thinking beside one pass, the same pass again, and diffusion: docs/ebt.md.

For --config=configs/ebt_denoise.py, and its variants.
"""

from . import PLAIN, Fields

_S2: Fields = {
    'denoise.steps': 3,
    'denoise.least_steps': 2,
    'denoise.loss': 'last',
    'denoise.step_size_spread': 2.0,
}

_CELLS: dict[str, Fields] = {
    'feed-forward': {'model.name': 'feedforward'},
    'diffusion': {'model.name': 'diffusion'},
    'energy, S1': {'model.name': 'energy', 'denoise.steps': 1, 'denoise.least_steps': 1},
    'energy, S2': {'model.name': 'energy'} | _S2,
    'conditioned, S2': {'model.name': 'energy_conditioned'} | _S2,
    'conditioned, unroll': {'model.name': 'energy_conditioned', 'denoise.detach': False} | _S2,
}

# No denoiser compares pairs, whatever the config says.
CELLS = {name: PLAIN | fields for name, fields in _CELLS.items()}
