"""Benchmarks run at toy size and write what they print; no figure is looked at."""

import importlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import end_to_end, gpu, growth, measure, scale, sides, startup, steps
from benchmarks.graph import features_of, lazy_greedy
from contrastive_jax.graph import subsets
from tests.marks import in_ci

ROOT = Path(__file__).parents[2]
TOYS = {
    'shares': '--config configs/digits.py --shape 4 4 1 --batch 8',
    'growth': '--shape 4 4 1 --batch 8 12 --size --devices',
    'recording': '--shape 4 4 1 --steps 2',
    'loss': '--images 4 6',
    'monitor': '--config configs/digits.py --images 20',
    'graph': '--sizes 24 30 --sas 20 16 --features 4',
}
# The size in each row: a batch has a row for its step and each of five parts, a number of images
# one for each of five losses, and a number of samples one for each of two sides.
SIZES = {
    'shares': ('batch', 6 * [8]),
    'growth': ('size', [8, 12]),
    'recording': ('config', ['configs/digits.py']),
    'loss': ('images', 5 * [4] + 5 * [6]),
    'monitor': ('images', [20]),
    'graph': ('n', [24, 24, 30, 30, 20, 20, 16, 16]),
}


@pytest.fixture
def small_models(monkeypatch):
    """Digits with a network of a few channels: what a benchmark compiles is its time."""
    load_config = steps.load_config

    def small(name):
        config = load_config(name)
        config.batch_size = 8
        config.model.update(width=4, projector_width=8, projector_dim=4)
        config.optimizer.name = 'sgd'
        config.augment.update(crop=False, jitter=0.0)
        return config

    monkeypatch.setattr(steps, 'load_config', small)


@pytest.fixture(autouse=True)
def no_ceiling(monkeypatch):
    monkeypatch.setattr(measure, 'ceiling', lambda **options: {'flops': 1.0, 'bytes': 1.0})


@pytest.mark.parametrize('name', ['graph', *in_ci(*(name for name in TOYS if name != 'graph'))])
def test_a_benchmark_writes_a_row_for_each_size(name, small_models, monkeypatch, tmp_path):
    module = importlib.import_module(f'benchmarks.{name}')
    monkeypatch.setattr(module, '_HOST_STEPS', 2, raising=False)
    file = tmp_path / 'rows.json'
    module.main([*TOYS[name].split(), '--rounds', '1', '--json', str(file)])
    found = json.loads(file.read_text())
    assert found['rows']
    column, sizes = SIZES[name]
    assert [row[column] for row in found['rows']] == sizes
    assert found['versions']


@pytest.mark.slow
def test_each_phase_of_a_start_takes_time(tmp_path):
    startup.main(['--rounds', '1', '--json', str(tmp_path / 'rows.json')])
    rows = json.loads((tmp_path / 'rows.json').read_text())['rows']
    phases = [row['phase'].strip() for row in rows]
    assert phases[1:] == ['imports', 'data', 'first state', 'monitor', 'first step', 'second step']
    assert all(row['seconds'] > 0 for row in rows)


def test_a_benchmark_that_is_told_to_end_leaves_no_process_behind():
    """It would stand still for ever, with all the memory that it holds."""
    code = """
import os, signal, sys
from benchmarks.sides import started
peer = [sys.executable, '-c', 'print("ready", flush=True); input()']
with started({'peer': peer}) as sides:
    print(sides['peer'].process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_part_that_takes_too_long_is_cut_off():
    assert gpu.run([sys.executable, '-c', ''], 30)
    assert not gpu.run([sys.executable, '-c', 'import time; time.sleep(60)'], 0.2)


def test_a_machine_without_a_gpu_is_told_before_anything_is_measured():
    command = [sys.executable, '-m', 'benchmarks.gpu']
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 1
    assert 'cpu' in done.stdout
    assert 'JAX finds no GPU' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_part_that_fails_is_written_down_and_the_others_go_on(tmp_path, monkeypatch):
    parts = {name: gpu.Part('no_such_benchmark', '', '', 60) for name in ('one', 'two')}
    monkeypatch.setattr(gpu, 'PARTS', parts)
    gpu.main(['--toy', '--json', str(tmp_path / 'gpu.json')])
    written = json.loads((tmp_path / 'gpu.json').read_text())
    assert written == {'one': {'ended': False}, 'two': {'ended': False}}


def test_a_part_and_both_sides_have_the_first_visible_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
    seen = "import os; seen = os.environ['CUDA_VISIBLE_DEVICES']; "
    assert gpu.run([sys.executable, '-c', f"{seen}assert seen == '3'"], 30)
    # Says that each call takes as many seconds as its GPU has for a number.
    side = f"""{seen}
print('ready', flush=True)
while calls := int(input()):
    print(calls * int(seen), 'shown', flush=True)
"""
    command = [sys.executable, '-c', side]
    both = {'contrastive_jax': command, 'lightly': command}
    monkeypatch.setattr(end_to_end, '_commands', lambda *arguments: both)
    file = tmp_path / 'rows.json'
    end_to_end.main(['--width', '4', '--batch', '6', '--rounds', '1', '--json', str(file)])
    rows = json.loads(file.read_text())['rows']
    assert [row['pairs_per_second'] for row in rows] == [2.0, 2.0]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert sides.one_gpu() == {}


def test_a_cpu_measures_channels_last_beside_the_layout_as_it_comes():
    commands = end_to_end._commands('images.npy', 4, 8, 'python')
    layouts = {
        name: '--layout channels_last' in ' '.join(words) for name, words in commands.items()
    }
    assert list(layouts) == [
        'contrastive_jax',
        'lightly, 0 workers',
        'lightly, 2 workers',
        'lightly, 2 workers, channels last',
    ]
    assert [name for name, last in layouts.items() if last] == [list(layouts)[-1]]


def test_a_gpu_is_not_taken_for_several(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    with pytest.raises(SystemExit, match='only a CPU can be made several, and this is a gpu'):
        growth.main(['--batch', '--size', '--devices', '1', '2'])


def test_a_benchmark_without_turns_takes_no_rounds(capsys):
    with pytest.raises(SystemExit):
        scale.main(['--exact', '--sizes', '--rounds', '3'])
    assert 'unrecognized arguments: --rounds 3' in capsys.readouterr().err


def test_the_parts_together_take_at_most_eight_minutes():
    assert sum(part.limit for part in gpu.PARTS.values()) <= 8 * 60


def test_the_lazy_greedy_keeps_what_sas_keeps():
    rows = features_of(60, 8).astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept = lazy_greedy(np.maximum(unit @ unit.T, 0), 12)
    ours = subsets.sas(rows, np.zeros(60, np.int64), 0.2, objective='graph_cut')
    assert sorted(kept) == ours.tolist()


@pytest.fixture
def clock(monkeypatch):
    """A clock for the timers, which the tests put forward."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(measure, 'time', SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


@pytest.mark.parametrize(('calls', 'seconds'), [(1, 7.0), (3, 3.0)])
def test_a_time_is_the_mean_of_the_calls_and_ends_when_the_result_is_ready(calls, seconds, clock):
    class Result:
        def block_until_ready(self):
            clock.seconds += 6

    def work():
        clock.seconds += 1
        return Result()

    timer = measure.timed(work, calls)
    assert [timer(), timer()] == [seconds, seconds]


def test_sides_take_turns_and_the_first_round_is_not_counted():
    turns, seconds = [], {'one': [50.0, 1.0, 2.0], 'other': [60.0, 3.0, 4.0]}

    def timer(name):
        turns.append(name)
        return seconds[name][turns.count(name) - 1]

    timers = {name: partial(timer, name) for name in seconds}
    assert measure.alternate(timers, 2) == {'one': [1.0, 2.0], 'other': [3.0, 4.0]}
    assert turns == 3 * ['one', 'other']


def test_a_process_beside_is_told_how_many_calls_and_their_mean_is_taken():
    # It says that each call takes half a second, and shows how many it was asked for.
    peer = """
print('ready', flush=True)
while calls := int(input()):
    print(calls / 2, 'of', calls, 'calls', flush=True)
"""
    with sides.started({'peer': [sys.executable, '-c', peer]}) as started:
        side = started['peer']
        assert side.seconds(4) == 0.5
        assert side.shown == 'of 4 calls\n'
        assert side.seconds() == 0.5
        assert side.shown == 'of 1 calls\n'
    # A benchmark leaves its pipes to the collector.
    side.process.stdin.close()
    side.process.stdout.close()


def test_one_round_has_no_range():
    assert str(measure.ratio([2.0], [4.0])) == '0.500'
    assert str(measure.ratio([2.0, 3.0], [4.0, 4.0])) == '0.625 (0.500-0.750)'


def test_flops_are_counted_for_a_cpu_or_not_at_all(monkeypatch):
    product = jax.jit(lambda x: x @ x)
    assert steps._flops(product, jnp.ones((8, 8))) == 2 * 8**3

    def none(platform):
        raise RuntimeError(f'Unknown backend {platform}')

    monkeypatch.setattr(jax, 'devices', none)
    assert steps._flops(product, jnp.ones((8, 8))) is None


@pytest.mark.ci
def test_the_check_of_exports_writes_what_it_compares(tmp_path):
    from benchmarks import export

    export.write_run(tmp_path / 'run', 'resnet18', 'cifar')
    expected = np.load(tmp_path / 'run' / 'expected.npz')['features']
    assert expected.shape == (64, 512)
    assert (tmp_path / 'run' / 'torch.safetensors').exists()


def test_no_benchmark_replaces_a_file(tmp_path):
    (tmp_path / 'mine.json').write_text('precious')
    with pytest.raises(SystemExit, match='exists; give another name'):
        measure.Report('loss', str(tmp_path / 'mine.json'))
    with pytest.raises(SystemExit, match='exists; give another name'):
        gpu.main(['--toy', '--json', str(tmp_path / 'mine.json')])
    with pytest.raises(SystemExit, match='its folder does not exist'):
        measure.Report('loss', str(tmp_path / 'gone' / 'mine.json'))
    assert (tmp_path / 'mine.json').read_text() == 'precious'
