"""Processes that read images: how they end, and what a run says when it was not meant."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax.data import streaming
from contrastive_jax.data.batches import prefetch
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.data.streaming import check_workers, shared_memory_bytes, stream_views
from contrastive_jax.errors import UserError
from tests import processes
from tests.data.readers import noise, unreadable
from tests.marks import in_ci

# Grain leaves warnings of its own.
pytestmark = pytest.mark.filterwarnings('ignore')
ROOT = Path(__file__).parents[2]
N, SIZE, ROWS = 40, 32, 8
BATCH_BYTES = ROWS * 2 * SIZE * SIZE * 3


def _images():
    return StoredImages(noise, np.arange(N), 'noise', SIZE)


def _stream(workers, steps=1000):
    options = {'seed': 0, 'batch_size': ROWS, 'smallest': 0.2, 'steps': range(steps)}
    return stream_views(_images(), None, workers=workers, **options)


@pytest.fixture
def own_shared_memory():
    """Runs a program where /dev/shm is a file system of its own, of some bytes."""
    if os.getuid() or subprocess.run(['unshare', '-m', 'true'], capture_output=True).returncode:
        pytest.skip('needs to mount a file system: root')

    def run(size, program):
        mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" "$@"'
        return subprocess.run(
            ['unshare', '-m', 'sh', '-c', mount, sys.executable, '-c', program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_what_does_not_fit_into_shared_memory_is_refused(monkeypatch):
    images = _images()
    assert shared_memory_bytes(images, ROWS, 0) == 0
    assert shared_memory_bytes(images, ROWS, 3) - shared_memory_bytes(images, ROWS, 2) == (
        9 * BATCH_BYTES
    )
    check_workers(images, ROWS, 2)
    large = StoredImages(noise, np.arange(N), 'noise', 100_000)
    check_workers(large, 256, 0)
    with pytest.raises(UserError) as told:
        check_workers(large, 256, 2)
    assert re.match(
        r'config\.data\.workers=2: the batches that they read ahead take up to \d+ MiB of shared '
        r'memory, and /dev/shm has \d+ MiB free; set config\.data\.workers=0, or enlarge /dev/shm',
        str(told.value),
    )
    # macOS has none.
    monkeypatch.setattr(streaming, '_SHARED_MEMORY', Path('/nowhere'))
    check_workers(large, 256, 2)


_READS = """
import time
from tests.data.test_workers import *
from tests.data.test_workers import _images, _stream
if __name__ == '__main__':
    {check}
    try:
        for step, (crops, _) in enumerate(prefetch(_stream(2, 40), lambda item: item)):
            time.sleep(0.3 if step < 10 else 0)
        print('read', step + 1)
    except UserError as error:
        print(error)
"""


@pytest.mark.ci
def test_what_is_let_through_fits(own_shared_memory):
    """Also where training is slower than reading, so that all that may wait does."""
    check = f'check_workers(_images(), {ROWS}, 2)'
    # Beside the batches there are their labels and semaphores, of a page each.
    size = shared_memory_bytes(_images(), ROWS, 2) + 100 * 4096
    done = own_shared_memory(size, _READS.format(check=check))
    assert done.stdout == 'read 40\n', done.stderr


@pytest.mark.ci
def test_a_full_shared_memory_is_named(own_shared_memory):
    done = own_shared_memory(4 * BATCH_BYTES, _READS.format(check='pass'))
    assert done.stdout.startswith(
        'config.data.workers=2: a process that reads images has died: /dev/shm, in which it hands '
        'batches over, is full; set config.data.workers=0, or enlarge /dev/shm (docker run '
    ), done.stderr
    assert done.stdout.count('\n') == 1
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('number', 'says'),
    [
        (signal.SIGKILL, r'it was killed \(SIGKILL\), most likely for lack of memory; set a'),
        *in_ci((signal.SIGSEGV, r'it was ended by SIGSEGV; set config\.data\.workers=0')),
    ],
)
def test_a_worker_that_dies_is_named(number, says):
    stream = _stream(1)
    next(stream)
    os.kill(multiprocessing.active_children()[0].pid, number)
    with pytest.raises(UserError, match=f'data.workers=1: a process that reads .* died: {says}'):
        for _ in stream:
            pass
    assert multiprocessing.active_children() == []


def test_other_errors_stay_what_they_are():
    images = StoredImages(unreadable, np.arange(N), 'none', SIZE)
    options = {'seed': 0, 'batch_size': ROWS, 'smallest': 0.2, 'steps': range(2)}
    with pytest.raises(OSError, match='cannot identify'):
        list(stream_views(images, None, workers=1, **options))


def test_workers_live_until_the_run_ends_them():
    """Ctrl-C and Slurm signal all processes of a run, which has yet to save."""
    items = prefetch(_stream(2), lambda item: item)
    next(items)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            os.kill(worker.pid, number)
    # More than can have been read ahead.
    for _ in range(30):
        next(items)
    assert [worker.is_alive() for worker in workers] == [True, True]
    items.close()
    deadline = time.monotonic() + 20
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # This process hears them as before.
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}


@pytest.mark.slow
def test_one_of_two_processes_whose_worker_dies_ends_both_at_once(tmp_path):
    for split, count in (('train', 20), ('val', 4)):
        for name in 'ab':
            folder = tmp_path / 'images' / split / name
            folder.mkdir(parents=True)
            for place in range(count):
                noise(place).save(folder / f'{place}.png')
    changes = {
        'data__name': 'folder',
        'data__data_dir': str(tmp_path / 'images'),
        'data__stream': True,
        'data__image_size': SIZE,
        'epochs': 10_000,
    }
    workdir = tmp_path / 'run'
    started = processes.start(workdir, changes, processes=2)
    try:
        deadline = time.monotonic() + 200
        while not ((workdir / 'metrics.jsonl').exists() and processes.metrics(workdir)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(_workers_of(started[1].pid)[0], signal.SIGKILL)
        assert started[1].wait(60) == 1
        assert started[0].wait(60) != 0
    finally:
        for process in started:
            process.kill()
            process.wait()
    told = processes.log_of(workdir, 1).read_text()
    assert told.count('error: process 1 of 2 cannot go on: config.data.workers=2: ') == 1
    assert 'Traceback' not in told


def _workers_of(pid):
    """Processes that read for another one; any of its threads may have started them."""
    lists = Path(f'/proc/{pid}/task').glob('*/children')
    children = [int(child) for path in lists for child in path.read_text().split()]
    return [pid for pid in children if 'spawn_main' in Path(f'/proc/{pid}/cmdline').read_text()]
