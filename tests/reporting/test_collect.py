from pathlib import Path

import pytest

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import find_runs


def test_runs_are_found_at_any_depth_and_once(runs):
    (runs / 'plain' / '0' / 'checkpoints').mkdir()
    (runs / 'plain' / '0' / 'checkpoints' / 'config.json').write_text('{}')
    found = find_runs([str(runs / 'plain'), str(runs), str(runs / 'plain' / '1')])
    assert [path.relative_to(runs) for path in found] == [
        Path(cell, str(seed)) for cell in ('margin', 'plain') for seed in range(3)
    ]


@pytest.mark.parametrize(
    ('folders', 'words'),
    [
        ([], 'RUNS: missing'),
        (['nowhere'], 'nowhere: no such folder'),
        (['.', 'empty'], 'empty: holds no run, at no depth'),
    ],
)
def test_folders_without_runs_are_refused(runs, monkeypatch, folders, words):
    monkeypatch.chdir(runs)
    (runs / 'empty').mkdir()
    with pytest.raises(UserError, match=words):
        report.run(folders, runs / 'out')
    assert not (runs / 'out').exists()
