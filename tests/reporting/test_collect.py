from pathlib import Path

import pytest

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import find_runs, read_run
from tests.reporting.runs import write_run


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
        (['nowhere.txt'], r'nowhere\.txt: no such file; .*GRID\.txt that launch\.sweep writes'),
        (['a file'], 'a file: is a file; give workdirs'),
        (['.', 'empty'], 'empty: holds no run, at no depth'),
    ],
)
def test_folders_without_runs_are_refused(runs, monkeypatch, folders, words):
    monkeypatch.chdir(runs)
    (runs / 'empty').mkdir()
    (runs / 'a file').touch()
    with pytest.raises(UserError, match=words):
        report.run(folders, runs / 'out')
    assert not (runs / 'out').exists()


def test_a_list_of_runs_stands_for_its_lines(tmp_path):
    """Also where their paths hold a space, which a shell would cut."""
    folders = [write_run(tmp_path / f'my runs {seed}', seed) for seed in range(2)]
    listed = tmp_path / 'table4.txt'
    listed.write_text(''.join(f'{folder}\n' for folder in folders))
    assert find_runs([str(listed)]) == folders
    # A grid in progress: what has not begun is listed with the rest.
    waiting = tmp_path / 'waiting'
    listed.write_text(listed.read_text() + f'{waiting}\n')
    assert find_runs([str(listed)]) == [*folders, waiting]
    assert (read_run(waiting).status, read_run(waiting).note) == ('unfinished', 'has not begun')
    listed.write_text(f'{tmp_path}/gone\n')
    with pytest.raises(UserError, match='gone: no such folder'):
        find_runs([str(listed)])
    listed.write_text('\n\n')
    with pytest.raises(UserError, match=r'table4\.txt: lists no run'):
        find_runs([str(listed)])


def test_a_list_goes_with_its_runs(tmp_path, monkeypatch):
    """Also where a sweep wrote paths that are relative to its own folder."""
    (tmp_path / 'old').mkdir()
    names = ['0123456789abcdef', 'fedcba9876543210']
    for name in names:
        write_run(tmp_path / 'old' / name, 0)
    own = write_run(tmp_path / 'own' / '0', 0)
    lines = [*(f'old/{name}' for name in names), 'own/0']
    (tmp_path / 'old' / 'table4.txt').write_text(''.join(f'{line}\n' for line in lines))
    write_run(tmp_path / 'old' / '0', 0)
    (tmp_path / 'old').rename(tmp_path / 'new')
    expected = [tmp_path / 'new' / name for name in names]
    monkeypatch.chdir(tmp_path)
    # A folder whose name says nothing is the one that the line names.
    assert find_runs(['new/table4.txt']) == [*(Path('new', name) for name in names), Path('own/0')]
    listed = tmp_path / 'new' / 'table4.txt'
    listed.write_text(''.join(f'{line}\n' for line in lines[:2]))
    monkeypatch.chdir(own)
    assert find_runs([str(listed)]) == expected


def test_links_to_workdirs_are_followed(tmp_path):
    (tmp_path / 'grid').mkdir()
    (tmp_path / 'elsewhere').mkdir()
    here, there = (write_run(tmp_path / place / 'run', 0) for place in ('grid', 'elsewhere'))
    (tmp_path / 'grid' / 'link').symlink_to(there)
    # The folder itself is taken, whatever comes first.
    (tmp_path / 'grid' / 'again').symlink_to(here)
    # What a run was begun with is no run of the grid.
    elsewhere = write_run(tmp_path / 'elsewhere' / 'other', 0)
    (here / 'init').symlink_to(elsewhere)
    (tmp_path / 'grid' / 'circle').symlink_to(tmp_path)
    found = find_runs([str(tmp_path / 'grid')])
    assert found == [tmp_path / 'grid' / 'link', here]
    assert found[0].resolve() == there
