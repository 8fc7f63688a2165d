"""The PyTorch side of `benchmarks.export`: loads exported encoders and compares features.

    python benchmarks/peer/export.py FOLDER...

Each folder holds `torch.safetensors` and `expected.npz`. Fails where a difference is too large.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file

_ALLOWED = 1e-4


def load(path: Path) -> tuple[torch.nn.Module, dict]:
    """The model of an exported file, as a user loads it, and the facts in the file."""
    with safe_open(path, framework='pt') as file:
        facts = file.metadata()
    model = getattr(torchvision.models, facts['architecture'])()
    model.fc = torch.nn.Identity()
    if facts['stem'] == 'cifar':
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    model.load_state_dict(load_file(path))
    return model.eval(), facts


def load_timm(path: Path, facts: dict) -> torch.nn.Module:
    """The same in timm, which has the same names."""
    import timm

    model = timm.create_model(facts['architecture'], num_classes=0)
    if facts['stem'] == 'cifar':
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> int:
    """Prints a line for each folder; 1 where a difference is too large."""
    failed = False
    for folder in map(Path, sys.argv[1:]):
        path = folder / 'torch.safetensors'
        expected = np.load(folder / 'expected.npz')
        model, facts = load(path)
        mean, std = (
            torch.tensor(json.loads(facts['moments'])[name])[:, None, None]
            for name in ('mean', 'std')
        )
        images = torch.from_numpy(expected['images']).permute(0, 3, 1, 2).float() / 255
        features = torch.from_numpy(expected['features'])
        line = f'{folder.name}: features up to {features.abs().max():.3g}'
        for name, each in (('torchvision', model), ('timm', load_timm(path, facts))):
            with torch.no_grad():
                found = each((images - mean) / std)
            difference = float((found - features).abs().max() / features.abs().max())
            failed |= not difference < _ALLOWED
            line += f', {name} differs by {difference:.1e}'
        print(line, flush=True)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
