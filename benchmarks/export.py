"""Whether PyTorch finds the same features: random ResNets, exported and encoded on both sides.

    benchmarks/peer/setup.sh .venv-peer
    python -m benchmarks.export --peer .venv-peer/bin/python

Prints, for each model and stem, the largest difference over the largest feature.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import jax
import numpy as np

from contrastive_jax import config as base
from contrastive_jax import export, load_encoder
from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.sources import Split
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.runs.images import measure_image_facts, write_image_facts
from contrastive_jax.runs.names import ENCODER
from contrastive_jax.runs.weights import save_encoder
from contrastive_jax.training.setup import set_up

_IMAGES = 64
_MODELS = ('resnet18', 'resnet34', 'resnet50')
_SIDES = {'cifar': 32, 'imagenet': 64}


def write_run(workdir: Path, name: str, stem: str) -> None:
    """Writes what the check needs of one model: both encoder files, images and our features.

    Scales, biases and statistics are random too: at their first values a part of the names could be
    mixed up unnoticed.
    """
    config = base.default()
    config.model.name, config.model.stem, config.precision = name, stem, 'float32'
    rng = host_rng(Use.BENCHMARK_DATA, 0)
    images = rng.integers(0, 256, (_IMAGES, _SIDES[stem], _SIDES[stem], 3), dtype=np.uint8)
    workdir.mkdir()
    none = np.zeros(0, np.int64)
    construction = Construction(Split(images, None, None), np.arange(_IMAGES), none, none)
    facts = measure_image_facts(construction)
    write_image_facts(workdir, facts)
    initial = set_up(config, facts.moments, 1).initial

    def perturbed(leaf):
        # Kernels keep their scale, so that features stay of order one.
        if leaf.ndim > 1:
            return np.asarray(leaf)
        return (np.asarray(leaf) * 0.5 + rng.uniform(0.2, 0.6, leaf.shape)).astype(np.float32)

    params, stats = jax.tree.map(perturbed, (initial.params, initial.stats))
    save_encoder(workdir, config, params, stats, step=1)
    export.run(workdir, workdir / 'torch.safetensors')
    np.savez(workdir / 'expected.npz', images=images, features=load_encoder(workdir)(images))


def main() -> None:
    """Writes all runs, and has the other side compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--peer', required=True, help='Python with torch, torchvision and timm')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / f'{name}-{stem}' for name in _MODELS for stem in _SIDES]
        for run in runs:
            write_run(run, *run.name.split('-'))
            print(f'{run.name}: {(run / ENCODER).stat().st_size / 2**20:.1f} MiB', flush=True)
        peer = Path(__file__).parent / 'peer' / 'export.py'
        subprocess.run([options.peer, str(peer), *map(str, runs)], check=True)


if __name__ == '__main__':
    main()
