import json
from pathlib import Path

import numpy as np
import pytest

from studies import scaling

PUBLISHED = Path(__file__).parents[2] / 'docs' / 'results' / 'ebt' / 'scaling.json'


def test_intervals_are_those_of_student_over_the_seeds():
    sizes, seeds = np.array([10.0, 100.0, 1000.0]), (0.5, 0.6, 0.7)
    energy = np.array([2 * sizes**-b for b in (0.1, 0.2, 0.3)])
    found = scaling.compared(
        sizes, {'energy': energy, 'feed-forward': np.array([sizes**-b for b in seeds])}
    )
    assert found['slopes'] == pytest.approx({'energy': 0.2, 'feed-forward': 0.6})
    # 4.3027 deviations of 0.1 / sqrt(3), wider than the seeds themselves.
    assert found['slope_intervals']['energy'] == pytest.approx([-0.0484, 0.4484], abs=1e-4)
    assert found['feed_forward_less_energy'] == pytest.approx(0.4)
    # The difference is the same with each seed, which says nothing of another.
    assert found['difference_interval'] is None


def test_two_seeds_have_no_interval():
    sizes = np.array([10.0, 100.0])
    errors = np.array([sizes**-0.1, sizes**-0.2])
    found = scaling.compared(sizes, {'energy': errors, 'feed-forward': errors**2})
    assert found['slope_intervals'] == {'energy': None, 'feed-forward': None}
    assert found['difference_interval'] is None


def test_what_is_published_follows_from_the_stored_errors(tmp_path):
    (tmp_path / 'scaling.json').write_bytes(PUBLISHED.read_bytes())
    scaling.main(['--redraw', '--out', str(tmp_path)])
    published, found = (
        json.loads(path.read_text()) for path in (PUBLISHED, tmp_path / 'scaling.json')
    )
    assert published.keys() == found.keys()
    for name in ('energy', 'feed-forward'):
        assert published['errors'][name] == found['errors'][name]
        assert published['slope_intervals'][name] == pytest.approx(found['slope_intervals'][name])
    assert published['difference_interval'] == pytest.approx(found['difference_interval'])
    assert found['slope_intervals']['energy'] == pytest.approx([-0.0007, 0.0170], abs=5e-5)
    assert found['slope_intervals']['feed-forward'] == pytest.approx([0.0172, 0.0266], abs=5e-5)
    assert found['difference_interval'] == pytest.approx([0.0005, 0.0270], abs=5e-5)
    assert (tmp_path / 'scaling.png').stat().st_size


@pytest.mark.parametrize('option', [['--subsets', '0', '84'], ['--seeds', '0'], ['--steps', '0']])
def test_numbers_below_one_are_refused(option, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, '_measure', lambda options: pytest.fail('trains'))
    with pytest.raises(SystemExit):
        scaling.main([*option, '--out', str(tmp_path)])
    assert f'error: {option[0]}=' in capsys.readouterr().err
