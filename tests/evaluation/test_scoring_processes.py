"""Two processes of two devices give the scores of one, and share the folder of tiles."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax import graph

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import pathlib, sys
import numpy as np
from contrastive_jax.runtime import distributed
place = distributed.ProcessInfo(sys.argv[1], 2, int(sys.argv[2]))
distributed.start(True, place)
from contrastive_jax.data.feature_rows import open_rows
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles import plan
from contrastive_jax.evaluation.tiles.request import Request
plan._TILE_FLOPS = 1
folder = pathlib.Path(sys.argv[3])
request = Request(columns=('score', 'isolation', 'boundary', 'partner', 'supervised_margin'))
rows, labels = open_rows(str(folder / 'x.npy')), np.arange(301) % 7
found = score_rows(rows, request, labels, keep=folder / 'tiles')
np.savez(folder / f'found{sys.argv[2]}.npz', **found.columns)
"""


def _run_both(arguments):
    """Runs two processes; `arguments` takes the address and the number of each."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    flags = '--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0'
    environ = os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': flags}
    running = [
        subprocess.Popen(
            [sys.executable, *arguments(address, str(process))],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    return [(*process.communicate(timeout=240), process.returncode) for process in running]


def _command(folder, *more):
    return lambda address, process: [
        *('-m', 'contrastive_jax.score', f'--coordinator_address={address}', '--num_processes=2'),
        *(f'--process_id={process}', f'--out={folder / "out"}', *more),
    ]


@pytest.mark.ci
def test_the_command_scores_in_two_processes_and_one_speaks(tmp_path):
    features = np.random.default_rng(0).normal(size=(301, 5)).astype(np.float32)
    np.save(tmp_path / 'x.npy', features)
    (said, _, first), (other, _, second) = _run_both(
        _command(tmp_path, f'--features={tmp_path / "x.npy"}')
    )
    # Gloo, which connects the processes, speaks for itself.
    spoken = [line for line in other.splitlines() if not line.startswith('[Gloo]')]
    assert (first, second, spoken) == (0, 0, [])
    assert 'written to' in said
    with np.load(tmp_path / 'out' / 'scores.npz') as found:
        exact = graph.sample_difficulty(features, pos_high=0.1, pos_low=0.5)
        np.testing.assert_allclose(found['score'], exact.score, atol=2e-6)
    # Both refuse the second time, before the work.
    refused = _run_both(_command(tmp_path, f'--features={tmp_path / "x.npy"}'))
    assert [status for _, _, status in refused] == [1, 1]
    assert all('holds scores.npz' in words for _, words, _ in refused)


def test_two_processes_do_not_score_a_run(tmp_path):
    for _, words, status in _run_both(_command(tmp_path, f'--workdir={tmp_path}')):
        assert status == 1
        assert 'a run is scored by one process' in words


@pytest.mark.ci
def test_two_processes_give_the_scores_of_one(tmp_path):
    features = np.random.default_rng(0).normal(size=(301, 5)).astype(np.float32)
    np.save(tmp_path / 'x.npy', features)
    for _, said, status in _run_both(
        lambda address, process: ['-c', _SCRIPT, address, process, str(tmp_path)]
    ):
        assert status == 0, said
    first, second = (np.load(tmp_path / f'found{process}.npz') for process in range(2))
    exact = graph.sample_difficulty(features, pos_high=0.1, pos_low=0.5)
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])
    for name, values in exact._asdict().items():
        np.testing.assert_allclose(first[name], values, atol=2e-6)
    np.testing.assert_allclose(first['isolation'], graph.isolation(features), atol=2e-6)
    margin = graph.scores.supervised_margin(features, np.arange(301) % 7)
    np.testing.assert_allclose(first['supervised_margin'], margin, atol=1e-5)
