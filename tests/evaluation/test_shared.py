from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from contrastive_jax.evaluation import shared
from contrastive_jax.evaluation.probing import Accuracies
from contrastive_jax.evaluation.shared import shared_probe

MEASURED = Accuracies(1 / 3, 0.1, None, 0.2, 0.3, 1e-4, (0.5, None), None)


@pytest.fixture
def measure():
    def count():
        count.calls += 1
        return MEASURED

    count.calls = 0
    return count


def test_a_probe_is_measured_once(tmp_path, measure):
    inputs = ['raw_pixel', np.arange(3), {'draws': 20}]
    first = shared_probe(tmp_path / 'shared', inputs, measure)
    again = shared_probe(tmp_path / 'shared', inputs, measure)
    assert measure.calls == 1
    assert first == again == MEASURED


def test_without_a_folder_nothing_is_kept(measure):
    assert shared_probe(None, ['raw_pixel'], measure) == MEASURED
    shared_probe(None, ['raw_pixel'], measure)
    assert measure.calls == 2


@pytest.mark.parametrize(
    'other',
    [
        ['random_encoder', np.arange(3), {'draws': 20}],
        ['raw_pixel', np.array([0, 1, 3]), {'draws': 20}],
        ['raw_pixel', np.arange(3.0), {'draws': 20}],
        ['raw_pixel', np.arange(3)[None], {'draws': 20}],
        ['raw_pixel', np.arange(3), {'draws': 21}],
    ],
)
def test_other_inputs_are_measured(tmp_path, measure, other):
    shared_probe(tmp_path, ['raw_pixel', np.arange(3), {'draws': 20}], measure)
    shared_probe(tmp_path, other, measure)
    assert measure.calls == 2


def test_other_code_or_devices_measure_again(tmp_path, measure, monkeypatch):
    shared_probe(tmp_path, ['raw_pixel'], measure)
    monkeypatch.setattr(shared, 'versions', lambda: {'jax': '0.0.1'})
    shared_probe(tmp_path, ['raw_pixel'], measure)
    monkeypatch.setattr(shared, 'platform_flags', lambda: {'devices': 8})
    shared_probe(tmp_path, ['raw_pixel'], measure)
    monkeypatch.setattr(shared, '_PACKAGE', tmp_path)
    shared_probe(tmp_path, ['raw_pixel'], measure)
    assert measure.calls == 4


def test_of_runs_that_begin_together_one_measures(tmp_path, monkeypatch):
    measuring, waiting, calls = Event(), Event(), []

    def measure():
        calls.append(1)
        measuring.set()
        assert waiting.wait(60)
        return MEASURED

    monkeypatch.setattr(shared.progress, 'say', lambda text: waiting.set())
    with ThreadPoolExecutor() as pool:
        first = pool.submit(shared_probe, tmp_path, ['raw_pixel'], measure)
        assert measuring.wait(60)
        second = pool.submit(shared_probe, tmp_path, ['raw_pixel'], measure)
        assert first.result() == second.result() == MEASURED
    assert len(calls) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == ['.json']


def test_a_measurement_that_fails_is_made_by_the_next_run(tmp_path, measure):
    def fail():
        raise MemoryError

    with pytest.raises(MemoryError):
        shared_probe(tmp_path, ['raw_pixel'], fail)
    assert shared_probe(tmp_path, ['raw_pixel'], measure) == MEASURED
    assert measure.calls == 1


def test_a_file_system_without_locks_measures_all_the_same(tmp_path, measure, monkeypatch):
    def refuse(*_):
        raise OSError('no locks available')

    monkeypatch.setattr(shared.fcntl, 'flock', refuse)
    assert shared_probe(tmp_path, ['raw_pixel'], measure) == MEASURED


def test_a_lock_file_that_cannot_be_opened_does_not_matter(tmp_path, measure):
    shared_probe(tmp_path, ['raw_pixel'], measure)
    (found,) = tmp_path.iterdir()
    found.rename(found.with_suffix('.away'))
    found.with_suffix('.lock').mkdir()
    assert shared_probe(tmp_path, ['raw_pixel'], measure) == MEASURED
    assert measure.calls == 2
