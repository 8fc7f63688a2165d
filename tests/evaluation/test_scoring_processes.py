"""Two processes of two devices give the scores of one, and share the folder of tiles."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from contrastive_jax import graph

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import pathlib, sys
import numpy as np
from contrastive_jax.runtime import distributed
place = distributed.ProcessInfo(sys.argv[1], 2, int(sys.argv[2]))
distributed.start(True, place)
from contrastive_jax.data.feature_rows import open_rows
from contrastive_jax.evaluation import tile_plan
from contrastive_jax.evaluation.scoring import Request, score_rows
tile_plan._TILE_FLOPS = 1
folder = pathlib.Path(sys.argv[3])
request = Request(columns=('score', 'isolation', 'boundary', 'partner'))
found = score_rows(open_rows(str(folder / 'x.npy')), request, keep=folder / 'tiles')
np.savez(folder / f'found{sys.argv[2]}.npz', **found.columns)
"""


def test_two_processes_give_the_scores_of_one(tmp_path):
    features = np.random.default_rng(0).normal(size=(301, 5)).astype(np.float32)
    np.save(tmp_path / 'x.npy', features)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    flags = '--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0'
    environ = os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': flags}
    running = [
        subprocess.Popen(
            [sys.executable, '-c', _SCRIPT, address, str(process), str(tmp_path)],
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    first, second = (np.load(tmp_path / f'found{process}.npz') for process in range(2))
    exact = graph.sample_difficulty(features, pos_high=0.1, pos_low=0.5)
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])
    for name, values in exact._asdict().items():
        np.testing.assert_allclose(first[name], values, atol=2e-6)
    np.testing.assert_allclose(first['isolation'], graph.isolation(features), atol=2e-6)
