import hashlib
import importlib
import json
import pkgutil
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from contrastive_jax import config as base
from launch import grids, sweep
from launch.cells import GridError, cells_of, override
from launch.planning import file_beside, plan

ROOT = Path(__file__).parents[2]
GRIDS = sorted(module.name for module in pkgutil.iter_modules(grids.__path__))
DIGITS = str(ROOT / 'configs' / 'digits.py')


def _plan(grid, tmp_path, *, config=DIGITS, seeds=(0,), **extra):
    fields = {path.replace('__', '.'): value for path, value in extra.items()}
    return plan(cells_of(grid), config, seeds, tmp_path, fields)


def test_there_is_a_grid_for_every_table_and_figure():
    assert {'fig1', 'fig2', 'fig4', *(f'table{n}' for n in range(1, 7))} <= set(GRIDS)
    assert {'cor41', 'thm45', 'batch_size'} <= set(GRIDS)


@pytest.mark.parametrize('name', ['digits', 'cifar', 'stl10'])
@pytest.mark.parametrize('grid', GRIDS)
def test_every_run_of_every_grid_has_a_valid_config_of_its_own(grid, name, tmp_path):
    config = ROOT / 'configs' / f'{name}.py'
    runs = _plan(grid, tmp_path, config=str(config), seeds=(0, 1))
    assert sum(len(run.cells) for run in runs) == 2 * len(cells_of(grid))
    assert len({run.folder for run in runs}) == len(runs)
    whole = set()
    for run in runs:
        variant = importlib.import_module(f'configs.{name}').get_config()
        flags = [flag for flag in run.commands[0] if flag.startswith('--config.')]
        variant.update_from_flattened_dict(dict(override(flag) for flag in flags))
        base.validate(variant)
        assert variant.seed == run.seed
        whole.add(json.dumps(variant.to_dict(), sort_keys=True))
    assert len(whole) == len(runs)


@pytest.mark.parametrize('grid', GRIDS)
def test_the_first_cell_is_plain(grid):
    assert next(iter(cells_of(grid).values()))['arm'] == 'simclr'


def test_runs_in_the_data_folder_are_refused(tmp_path):
    data = {'data__name': 'folder', 'data__data_dir': str(tmp_path)}
    with pytest.raises(GridError, match=r"cell '.*': --runs=.*/runs: is in the data folder"):
        _plan('table4', tmp_path / 'runs', **data, data__image_size=8)
    assert not list(tmp_path.iterdir())


def test_grids_share_their_baseline(tmp_path):
    first, second = (_plan(grid, tmp_path)[0] for grid in ('table2', 'table4'))
    assert first == second


def test_names_follow_every_field_and_nothing_else(tmp_path):
    def names(folder=tmp_path, **extra):
        return [run.folder.name for run in _plan('fig1', folder, **extra)]

    plain = names()
    assert plain == names(tmp_path / 'elsewhere')
    for change in ({'epochs': 70}, {'probe__draws': 3}, {'data__data_dir': '/images'}):
        assert not set(plain) & set(names(**change))


def test_fields_that_change_no_number_rename_no_run(tmp_path):
    fields = {'data__workers': 0, 'checkpoint_every': 7, 'checkpoint_minutes': 1.0}
    runs, others = _plan('fig1', tmp_path), _plan('fig1', tmp_path, **fields)
    assert [run.folder for run in runs] == [run.folder for run in others]
    assert '--config.checkpoint_every=7' in others[0].commands[0]


def test_a_new_field_renames_no_run(tmp_path, monkeypatch):
    before = [run.folder for run in _plan('fig1', tmp_path)]
    monkeypatch.setitem(base.FIELDS, 'probe.new', base.FIELDS['probe.draws'])
    assert [run.folder for run in _plan('fig1', tmp_path)] == before


def test_a_run_has_one_name_however_its_arm_is_written(tmp_path):
    fields = {'pairs.select': 'difficult', 'pairs.margin': 0.1, 'pairs.temperature_scale': 0.7}
    cells = {'named': {'arm': 'combined'}, 'single': fields}
    (run,) = plan(cells, DIGITS, [0], tmp_path, {})
    assert run.cells == ('named', 'single')


@pytest.mark.parametrize(
    ('fields', 'cell'),
    [
        ({'pairs__select': 'none'}, 'removal'),
        ({'pairs__remove': True}, 'baseline'),
        ({'pairs__margin': 0.0}, 'margin'),
    ],
)
def test_fields_that_contradict_an_arm_end_the_plan(fields, cell, tmp_path):
    with pytest.raises(GridError, match=rf"pairs\.\w+=.*changes the arm of the cell '{cell}'"):
        _plan('table4', tmp_path, **fields)


def _margin_and_scale(run):
    """The strengths that `main` will train a run with."""
    flags = dict(override(flag) for flag in run.commands[0] if flag.startswith('--config.'))
    config, _ = base.resolve(_with(flags), flags)
    return config.arm, config.pairs.margin, config.pairs.temperature_scale


@pytest.mark.parametrize(
    ('grid', 'expected'),
    [
        ('table2', [('simclr', 0, 1), ('margin_all', 0.2, 1), ('margin', 0.2, 1)]),
        ('table3', [('simclr', 0, 1), ('temperature_all', 0, 0.5), ('temperature', 0, 0.5)]),
        (
            'table4',
            [
                ('simclr', 0, 1),
                ('removal', 0, 1),
                ('margin', 0.2, 1),
                ('temperature', 0, 0.5),
                ('combined', 0.2, 0.5),
            ],
        ),
    ],
)
def test_strengths_after_the_dashes_set_the_cells_that_have_them(grid, expected, tmp_path):
    runs = _plan(grid, tmp_path, pairs__margin=0.2, pairs__temperature_scale=0.5)
    assert [_margin_and_scale(run) for run in runs] == expected
    # The baseline is the run that it is without them.
    assert runs[0] == _plan(grid, tmp_path)[0]


def _as_the_first_edition_left_it(run):
    """The config of a run as it was stored, and the name that it gave the folder."""
    flags = dict(override(f) for f in run.commands[0] if f.startswith('--config.'))
    config = base.resolve(_with(flags), flags)[0].to_dict()
    del config['arm'], config['steps']
    source = config['removal']['scores']
    removal = config['removal'] | {'scores': source and Path(source).parent.name}
    text = json.dumps(config | {'removal': removal}, sort_keys=True)
    return config, hashlib.sha256(text.encode()).hexdigest()[:16]


def _with(flags):
    config = importlib.import_module('configs.digits').get_config()
    config.update_from_flattened_dict(flags)
    return config


def test_runs_of_the_first_edition_are_recognised(tmp_path):
    new, old = tmp_path / 'new', tmp_path / 'old'
    for run in _plan('cor41', new):
        config, name = _as_the_first_edition_left_it(run)
        if run.needs:
            first = _as_the_first_edition_left_it(_plan('cor41', new)[0])[1]
            config['removal']['scores'] = str(old / first / 'scores.npz')
        (old / name).mkdir(parents=True)
        (old / name / 'config.json').write_text(json.dumps(config))
    made = {path.name for path in old.iterdir()}
    runs = _plan('cor41', old)
    assert {run.folder.name for run in runs} == made
    assert not made & {run.folder.name for run in _plan('cor41', new)}
    assert {run.needs for run in runs if run.needs} == {runs[0].folder}
    scores = f'--config.removal.scores={runs[0].folder}/scores.npz'
    assert all(scores in run.commands[0] for run in runs if run.needs)


def _begin(run):
    """Leaves the config of a run as `main` stores it."""
    flags = dict(override(flag) for flag in run.commands[0] if flag.startswith('--config.'))
    run.folder.mkdir(parents=True)
    stored = base.resolve(_with(flags), flags)[0].to_dict()
    (run.folder / 'config.json').write_text(json.dumps(stored))
    return stored


def test_a_removal_run_goes_on_however_the_folder_of_runs_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = _plan('cor41', Path('runs'))
    stored = [_begin(run)['removal']['scores'] for run in begun]
    Path('link').symlink_to('runs')
    for folder in (tmp_path / 'runs', Path('link')):
        for run, scores in zip(_plan('cor41', folder), stored, strict=True):
            flag = f'--config.removal.scores={scores}'
            assert (flag in run.commands[0]) == (scores is not None)
    # After a move the stored path leads nowhere, and `main` says so.
    Path('link').unlink()
    Path('runs').rename('elsewhere')
    moved = _plan('cor41', Path('elsewhere'))
    wanting = [run for run in moved if run.needs]
    assert wanting
    assert all(f'--config.removal.scores={r.needs}/scores.npz' in r.commands[0] for r in wanting)


def test_a_run_begun_with_another_spelling_of_its_data_goes_on(tmp_path):
    (run,) = plan({'a': {'data.data_dir': 'images'}}, DIGITS, [0], tmp_path, {})
    stored = _begin(run)
    stored['data']['data_dir'] = 'images/'
    (run.folder / 'config.json').write_text(json.dumps(stored))
    # The name that an earlier version gave it.
    run.folder.rename(tmp_path / 'older')
    (again,) = plan({'a': {'data.data_dir': 'images'}}, DIGITS, [0], tmp_path, {})
    assert again.folder == tmp_path / 'older'
    assert '--config.data.data_dir=images/' in again.commands[0]


def test_a_list_holds_each_run_once_however_its_folder_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path('runs'), tmp_path / 'runs'):
        folder.mkdir(exist_ok=True)
        sweep._list(_plan('table1', folder), folder / 'table1.txt')
    listed = (tmp_path / 'runs/table1.txt').read_text().splitlines()
    assert listed == [str(run.folder) for run in _plan('table1', tmp_path / 'runs')]


def test_a_folder_that_cannot_be_read_is_no_run_of_a_grid(tmp_path):
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'config.json').write_text('{')
    assert all(run.folder.name != 'broken' for run in _plan('table4', tmp_path))


def test_scores_come_from_the_run_of_the_same_seed(tmp_path):
    runs = {run.folder: run for run in _plan('cor41', tmp_path, seeds=(0, 1))}
    wanting = [run for run in runs.values() if run.needs]
    assert len(wanting) == 2 * 5
    for run in wanting:
        before = runs[run.needs]
        assert before.seed == run.seed
        assert before.cells == ('full',)
        assert before.makes == (before.folder / 'result.json', before.folder / 'scores.npz')
        assert f'--config.removal.scores={before.folder / "scores.npz"}' in run.commands[0]
        assert list(runs).index(run.needs) < list(runs).index(run.folder)


def test_what_the_user_sets_wins(tmp_path):
    run = _plan('table5', tmp_path, moco__queue_size=512)[0]
    assert '--config.moco.queue_size=512' in run.commands[0]
    assert '--config.moco.queue_size=4096' not in run.commands[0]


@pytest.mark.parametrize(
    ('grid', 'fields', 'path'),
    [
        ('fig2', {'mixed__ratio': 0.3}, 'mixed.ratio'),
        ('thm45', {'pairs__temperature_scale': 0.7}, 'pairs.temperature_scale'),
        ('batch_size', {'batch_size': 128}, 'batch_size'),
        ('fig4', {'pairs__pos_high': 0.1}, 'pairs.pos_high'),
        ('removal', {'equal_updates': True}, 'equal_updates'),
        ('table4', {'arm': 'margin'}, 'arm'),
    ],
)
def test_a_field_that_the_grid_varies_is_refused(grid, fields, path, tmp_path):
    with pytest.raises(
        GridError, match=rf'config\.{path}=.*: this grid compares cells that differ'
    ):
        _plan(grid, tmp_path, **fields)


def test_what_cannot_be_trained_is_refused_before_the_first_run(tmp_path):
    with pytest.raises(GridError, match=r"cell 'difficulty, equal updates': config\.equal_updates"):
        _plan('removal', tmp_path, steps=1000)


def test_values_keep_their_types():
    texts = ('--config.a.b=0.5', '--config.c=3', '--config.d=true', '--config.e=x y', '--config.f=')
    assert dict(override(text) for text in texts) == {
        'a.b': 0.5,
        'c': 3,
        'd': True,
        'e': 'x y',
        'f': '',
    }


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda tmp: cells_of('tabel4'), 'nearest is table4'),
        (lambda tmp: cells_of('../plan'), 'must be one of'),
        (lambda tmp: override('epochs=3'), '--config.FIELD=VALUE'),
        (lambda tmp: override('--config.epochs'), '--config.FIELD=VALUE'),
        (lambda tmp: _plan('table4', tmp, epoch=3), 'epoch'),
        (lambda tmp: _plan('table4', tmp, epochs='many'), 'config'),
        (lambda tmp: _plan('table4', tmp, epochs=10.0), r'epochs=10.0: must be an integer'),
        (lambda tmp: _plan('table4', tmp, pairs__margin=True), r'margin=True: must be a number'),
        (lambda tmp: _plan('table4', tmp, seed=3), 'use --seeds'),
        (lambda tmp: _plan('table4', tmp, config='configs/none.py'), 'configs/none.py'),
        (lambda tmp: _plan('table4', tmp, config=DIGITS + ':big'), 'big'),
    ],
)
def test_mistakes_are_named(change, message, tmp_path):
    with pytest.raises(GridError, match=message):
        change(tmp_path)


def test_a_grid_may_be_a_file_of_ones_own(tmp_path, capsys):
    """Also a copy of a file of launch/grids."""
    own = tmp_path / 'my.grid.py'
    own.write_text((ROOT / 'launch/grids/removal.py').read_text())
    assert cells_of(str(own)) == cells_of('removal')
    assert (
        sweep.main([f'--grid={own}', f'--config={DIGITS}', f'--runs={tmp_path}', '--dry_run']) == 0
    )
    assert '# full, seed 0\n' in capsys.readouterr().out


def test_the_example_of_a_grid_can_be_planned(tmp_path):
    guide = (ROOT / 'docs/guide/grids.md').read_text()
    (tmp_path / 'mygrid.py').write_text(guide.partition('```python\n')[2].partition('```')[0])
    assert len(_plan(str(tmp_path / 'mygrid.py'), tmp_path)) == 2


def test_the_list_of_an_own_grid_is_named_after_its_file(tmp_path, monkeypatch):
    (tmp_path / 'mygrid.py').write_text("CELLS = {'plain': {'arm': 'simclr'}}\n")
    monkeypatch.setattr(sweep, '_run_all', lambda *_: [])
    sweep.main([f'--grid={tmp_path / "mygrid.py"}', f'--config={DIGITS}', f'--runs={tmp_path}'])
    assert len((tmp_path / 'mygrid.txt').read_text().splitlines()) == 5


_SCORED = "from . import ScoresOf\nCELLS = {'a': {}, 'b': {'removal.scores': "


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('none.py', None, ': no such file'),
        ('table4.py', '', r': RUNS/table4\.txt is the list of --grid=table4; rename the file'),
        ('config.py', '', r': RUNS/config\.txt is the list of runs without a grid; rename'),
        ('own.py', 'CELL = {}', ': has no CELLS'),
        ('own.py', "CELLS = {'a': 3}", ': has no CELLS'),
        ('own.py', 'CELLS = {}', ': has no CELLS'),
        ('own.py', '\ndef f():\n    1 / 0\nf()', ', line 3: ZeroDivisionError: division by zero'),
        ('own.py', '\nCELLS = {', r', line 2: SyntaxError: .* was never closed'),
        ('own.py', 'raise SystemExit(2)', ', line 1: SystemExit: 2'),
        ('own.py', "CELLS = {'a': {'seed': 3}}", "cell 'a': sets the seed; use --seeds"),
        ('own.py', f"{_SCORED}ScoresOf('c')}}}}", "cell 'b': ScoresOf.*: must name a cell that"),
        ('own.py', f"{_SCORED}ScoresOf('b')}}}}", "cell 'b': ScoresOf.*: must name a cell that"),
        ('own.py', f"{_SCORED}ScoresOf('a', 'look')}}}}", "by='score' or by='verify'"),
        ('own.py', "CELLS = {'a': {'arm': 'margins'}}", "cell 'a': config.arm='margins'"),
    ],
)
def test_a_grid_file_that_cannot_be_used_is_one_line(name, text, message, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(GridError, match=message) as caught:
        _plan(str(tmp_path / name), tmp_path)
    assert '\n' not in str(caught.value)


def test_a_config_that_two_fields_make_equal_is_run_once(tmp_path):
    cells = {'a': {'epochs': 20}, 'b': {'epochs': 20}, 'c': {'epochs': 30}}
    runs = plan(cells, DIGITS, [0], tmp_path, {})
    assert [run.cells for run in runs] == [('a', 'b'), ('c',)]


def test_a_run_is_scored_by_every_command_that_is_asked_for(tmp_path):
    runs = {run.cells[0]: run for run in _plan('verifier', tmp_path)}
    full, second, first = (runs[name] for name in ('full', 'system 2', 'difficulty'))
    assert [command[2] for command in full.commands] == [
        f'contrastive_jax.{name}' for name in ('main', 'score', 'verify')
    ]
    # What an interrupted scoring has left must not stop the next one.
    assert all(command[-1] == '--overwrite' for command in full.commands[1:])
    folder = full.folder
    assert full.makes[1:] == (folder / 'scores.npz', folder / 'verify' / 'scores.npz')
    assert second.needs == first.needs == folder
    assert f'--config.removal.scores={folder / "verify" / "scores.npz"}' in second.commands[0]
    assert f'--config.removal.scores={folder / "scores.npz"}' in first.commands[0]


@pytest.mark.parametrize('text', ['# A page\n\nnot Python', 'import nowhere', 'get_config = 1 / 0'])
def test_a_config_file_that_cannot_be_run_is_one_line(text, tmp_path):
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(GridError, match='cannot be read') as caught:
        _plan('table1', tmp_path, config=str(tmp_path / 'config.py'))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('data.data_dir=2024', '2024'),
        ('data.data_dir=None', None),
        ('data.data_dir=/images/', '/images'),
        ('data.data_dir=./images//png', 'images/png'),
        ('data.data_dir=link/../images', 'link/../images'),
        ('data.data_dir=gs://bucket/images/', 'gs://bucket/images/'),
        ('data.data_dir=~/images', str(Path.home() / 'images')),
        ('epochs=3', 3),
        ('pairs.margin=1e-1', 0.1),
        ('mixed.drop=true', True),
        ('mixed.drop=1', True),
        ('equal_updates=0', False),
    ],
)
def test_values_are_read_as_the_flags_of_main_read_them(text, value):
    assert override(f'--config.{text}') == (text.partition('=')[0], value)


@pytest.mark.parametrize(('grid', 'said'), [('table1', True), ('table3', True), ('table4', False)])
def test_a_strength_that_no_cell_uses_is_named(grid, said, capsys, tmp_path):
    arguments = [f'--grid={grid}', f'--config={DIGITS}', f'--runs={tmp_path}', '--dry_run']
    sweep.main([*arguments, '--', '--config.pairs.margin=0.3'])
    words = 'note: --config.pairs.margin=0.3: has no effect, because no cell'
    assert (words in capsys.readouterr().err) == said


def test_seeds_begin_where_the_user_says(capsys, tmp_path):
    arguments = ['--grid=table3', f'--config={DIGITS}', f'--runs={tmp_path}', '--dry_run']
    sweep.main([*arguments, '--seeds=2', '--first_seed=101'])
    flags = [line for line in capsys.readouterr().out.splitlines() if line[0] != '#']
    assert [re.search(r'config\.seed=(\d+)', line)[1] for line in flags] == ['101'] * 3 + [
        '102'
    ] * 3


@pytest.mark.parametrize(
    ('flag', 'least'), [('--seeds=0', 1), ('--first_seed=-1', 0), ('--jobs=²', 1)]
)
def test_whole_numbers_of_the_command_are_checked(flag, least, capsys, tmp_path):
    with pytest.raises(SystemExit):
        sweep.main([f'--config={DIGITS}', f'--runs={tmp_path}', flag])
    assert f'is not a whole number from {least} up' in capsys.readouterr().err


def test_a_field_before_the_dashes_is_told_its_place(capsys, tmp_path):
    arguments = ['--grid=table4', f'--config={DIGITS}', f'--runs={tmp_path}', '--config.epochs=1']
    with pytest.raises(SystemExit):
        sweep.main(arguments)
    assert '--config.epochs=1: fields for every cell come last, after --' in capsys.readouterr().err


def test_files_beside_folders_with_dots_are_told_apart(tmp_path):
    names = {file_beside(tmp_path / f'margin_{margin}', '.log').name for margin in (0.1, 0.2)}
    assert names == {'margin_0.1.log', 'margin_0.2.log'}


def test_sweeps_that_begin_together_lose_no_run(tmp_path, monkeypatch):
    """Each waits for the other, and then adds its runs to what is there."""
    written = sweep.write_json

    def slow(path, content):
        time.sleep(0.02)
        written(path, content)

    monkeypatch.setattr(sweep, 'write_json', slow)
    plans = [_plan('table4', tmp_path, seeds=(seed,)) for seed in range(6)]

    def add(runs):
        with sweep._alone(tmp_path):
            sweep._list(runs, tmp_path / 'table4.txt')
            sweep._name(runs, tmp_path / 'cells.json')

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, plans))
    folders = {str(run.folder) for runs in plans for run in runs}
    assert set((tmp_path / 'table4.txt').read_text().splitlines()) == folders
    names = json.loads((tmp_path / 'cells.json').read_text())
    assert names.keys() - {'makes'} >= {Path(folder).name for folder in folders}


@pytest.mark.parametrize(
    ('text', 'path'), [('./~data', './~data'), ('data//x/', 'data/x'), ('gs://a/b/', 'gs://a/b/')]
)
def test_a_path_has_one_spelling_and_stays_the_path(text, path):
    assert override(f'--config.data.data_dir={text}') == ('data.data_dir', path)


def test_an_error_in_a_config_file_has_its_line_in_a_sweep_too(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text("def get_config():\n    return {}['x']\n")
    with pytest.raises(GridError, match=r"own\.py, line 2: cannot be read \('x'\)"):
        _plan('table3', tmp_path, config=str(path))


def test_a_sweep_by_slurm_names_the_library_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    monkeypatch.delitem(sys.modules, 'launch.slurm', raising=False)
    monkeypatch.delattr(launch, 'slurm', raising=False)
    with pytest.raises(GridError, match=r'--slurm: needs submitit; pip install submitit$'):
        sweep._run_all([], SimpleNamespace(slurm=''))
