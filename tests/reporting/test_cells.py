import itertools
import json

import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.reporting import statistics
from tests.reporting.runs import MARGIN, cells_of, report_of, texts, write_run


def test_seeds_do_not_split_cells_and_fields_do(runs):
    cells = cells_of(runs)
    assert [cell.name for cell in cells] == [
        'pairs.select=none, pairs.margin=0',
        'pairs.select=difficult, pairs.margin=0.1',
    ]
    assert [[run.seed for run in cell.runs] for cell in cells] == [[0, 1, 2]] * 2


def test_fields_that_change_no_number_do_not_split_cells(tmp_path):
    write_run(tmp_path / 'a', 0, checkpoint_every=7)
    write_run(tmp_path / 'b', 1, checkpoint_minutes=1.0, data__workers=2)
    assert len(cells_of(tmp_path)) == 1


@pytest.mark.parametrize(
    ('paths', 'cells'),
    [
        (['0.npz', '1.npz', '2.npz'], 1),
        (['a.npz', 'a.npz', 'b.npz'], 2),
        (['a.npz', 'a.npz', 'a.npz'], 1),
    ],
)
def test_a_path_splits_cells_unless_each_seed_has_its_own(tmp_path, paths, cells):
    for seed, path in enumerate(paths):
        write_run(tmp_path / str(seed), seed, removal__ratio=0.1, removal__scores=path)
    assert len(cells_of(tmp_path)) == cells


@pytest.mark.parametrize('field', ['extend', 'init'])
def test_runs_that_go_on_from_their_own_seed_are_one_cell(tmp_path, field):
    for arm in ('none', 'difficult'):
        for seed in range(3):
            path = f'runs/{arm}{seed}'
            write_run(tmp_path / f'{arm}{seed}', seed, **{field: path}, pairs__select=arm)
    for seed in range(3):
        write_run(tmp_path / f'anew{seed}', seed)
    assert [len(cell.runs) for cell in cells_of(tmp_path)] == [3, 3, 3]


def test_two_score_files_for_one_seed_are_two_cells(tmp_path):
    for name in 'ab':
        write_run(tmp_path / name, 0, removal__ratio=0.1, removal__scores=f'{name}.npz')
    assert [cell.name for cell in cells_of(tmp_path)] == [
        'removal.scores=a.npz',
        'removal.scores=b.npz',
    ]


def test_runs_of_before_a_field_existed_are_in_the_cell_of_its_default(runs):
    for path in (runs / 'plain' / '1', runs / 'margin' / '0'):
        config = json.loads((path / 'config.json').read_text())
        del config['denoise'], config['moco']['shuffle'], config['arm'], config['steps']
        (path / 'config.json').write_text(json.dumps(config))
    cells = cells_of(runs)
    assert [[run.seed for run in cell.runs] for cell in cells] == [[0, 1, 2]] * 2
    assert 'absent' not in ''.join(cell.name for cell in cells)
    assert [cell.fields['arm'] for cell in cells] == ['simclr', 'margin']


@pytest.mark.parametrize(('name', 'cells'), [('cifar10', 1), ('npz', 2), ('folder', 2)])
def test_where_a_data_set_lies_matters_if_it_is_the_data_set(tmp_path, name, cells):
    for seed, place in enumerate(('here', 'here', 'there')):
        write_run(tmp_path / str(seed), seed, data__name=name, data__data_dir=place)
    assert len(cells_of(tmp_path)) == cells


@pytest.mark.parametrize('name', ['npz', 'folder'])
def test_two_data_sets_with_a_seed_each_are_two_cells(tmp_path, name):
    for seed, place in enumerate(('cats', 'birds')):
        write_run(tmp_path / str(seed), seed, data__name=name, data__data_dir=place)
    assert len(cells_of(tmp_path)) == 2


def test_one_folder_of_images_under_many_names_is_one_cell(tmp_path):
    for seed, place in enumerate(('photos', 'photos/', '/data/photos', '/data/../data/photos')):
        write_run(tmp_path / str(seed), seed, data__name='folder', data__data_dir=place)
    assert len(cells_of(tmp_path)) == 2
    for seed in range(4):
        (tmp_path / str(seed) / 'images.json').write_text('{"checksum": "abc"}')
    (cell,) = cells_of(tmp_path)
    assert cell.fields['data.data_dir'] == 'photos'
    (tmp_path / '3' / 'images.json').write_text('{"checksum": "of other images"}')
    assert len(cells_of(tmp_path)) == 2
    # In the same folder, whose images were changed.
    write_run(tmp_path / '4', 4, data__name='folder', data__data_dir='photos')
    (tmp_path / '4' / 'images.json').write_text('{"checksum": "of changed images"}')
    assert sorted(len(cell.runs) for cell in cells_of(tmp_path)) == [1, 1, 3]


def _with_images(folder, checksum):
    (folder / 'images.json').write_text(json.dumps({'checksum': checksum}))


def test_mixed_images_of_each_seed_are_of_one_data_set(tmp_path):
    for seed in range(3):
        for ratio in (0.0, 0.2):
            folder = tmp_path / f'{seed} {ratio}'
            write_run(folder, seed, data__name='npz', data__data_dir='d.npz', mixed__ratio=ratio)
            # The checksum is that of the images after mixing, which each seed does otherwise.
            _with_images(folder, f'mixed by {seed}' if ratio else 'as they come')
    assert [len(cell.runs) for cell in cells_of(tmp_path)] == [3, 3]
    assert {cell.fields['data.data_dir'] for cell in cells_of(tmp_path)} == {'d.npz'}


@pytest.mark.parametrize('field', ['data__image_size', 'data__stream'])
def test_images_of_one_folder_read_in_two_ways_are_of_one_data_set(tmp_path, field):
    for seed, value in enumerate((8, 16) if field == 'data__image_size' else (False, True)):
        folder = tmp_path / str(seed)
        fields = {'data__name': 'folder', 'data__data_dir': 'photos', 'data__image_size': 8}
        write_run(folder, seed, **(fields | {field: value}))
        _with_images(folder, f'of {value}')
    assert {cell.fields['data.data_dir'] for cell in cells_of(tmp_path)} == {'photos'}


@pytest.mark.parametrize('without', [0, 2])
def test_an_older_run_without_a_checksum_is_in_the_cell_of_its_folder(tmp_path, without):
    for seed in range(3):
        folder = tmp_path / str(seed)
        write_run(folder, seed, data__name='folder', data__data_dir='photos')
        if seed != without:
            _with_images(folder, 'abc')
    (cell,) = cells_of(tmp_path)
    assert len(cell.runs) == 3


@pytest.mark.parametrize('order', list(itertools.permutations(range(4))))
def test_the_order_of_the_runs_joins_the_same_folders(tmp_path, order):
    # One folder under two names; the last run is older and has no checksum.
    some = [('photos', 8, 'abc'), ('/d/photos', 16, 'def'), ('/d/photos', 8, 'abc')]
    for number, (path, size, checksum) in enumerate([*some, ('photos', 16, None)]):
        folder = tmp_path / str(order.index(number))
        fields = {'data__name': 'folder', 'data__data_dir': path, 'data__image_size': size}
        write_run(folder, number, **fields)
        if checksum:
            _with_images(folder, checksum)
    cells = cells_of(tmp_path)
    assert len({cell.fields['data.data_dir'] for cell in cells}) == 1
    assert [len(cell.runs) for cell in cells] == [2, 2]


def test_cells_are_ordered_by_size_after_the_defaults(tmp_path):
    for width in (8, 128, 16, 64):
        write_run(tmp_path / str(width), model__width=width)
    names = [cell.name for cell in cells_of(tmp_path)]
    assert names == [f'model.width={width}' for width in (64, 8, 16, 128)]


@pytest.mark.parametrize(
    ('wanted', 'place'),
    [(None, 0), ('pairs.margin=0.10', 1), ('pairs.select=none,epochs=2', 0), ('arm=margin', 1)],
)
def test_the_baseline_is_the_untreated_cell_or_the_one_named(runs, wanted, place):
    assert statistics.find_baselines(cells_of(runs), wanted) == [place] * 2


def test_a_baseline_may_have_a_text_that_looks_like_a_number(tmp_path):
    for name in ('007', '2024_01', '7'):
        write_run(tmp_path / name, data__name='npz', data__data_dir=name)
    cells = cells_of(tmp_path)
    for name in ('007', '2024_01', '7'):
        (picked,) = set(statistics.find_baselines(cells, f'data.data_dir={name}'))
        assert cells[picked].fields['data.data_dir'] == name


@pytest.mark.parametrize(
    ('wanted', 'words'),
    [
        ('epochs=2', 'picks 2 cells, must pick one; it fits: pairs.select=none'),
        ('pairs.margin=7', 'picks 0 cells.*there are: pairs.select=none'),
        ('pairs.margn=0', "no run has a field 'pairs.margn'; the nearest is pairs.margin"),
        ('pairs.margin', "'pairs.margin' is no field=value"),
    ],
)
def test_a_baseline_must_pick_one_cell(runs, wanted, words):
    with pytest.raises(UserError, match=words):
        statistics.find_baselines(cells_of(runs), wanted)


def test_a_cell_is_compared_with_the_plain_cell_of_its_own_setting(tmp_path):
    for factor in (1.0, 10.0, 50.0):
        setting = {'long_tail__factor': factor}
        write_run(tmp_path / f'plain {factor}', 0, 0.5, **setting)
        write_run(tmp_path / f'margin {factor}', 0, 0.5, **setting, **MARGIN)
    # A trial, and a treated cell without a plain one.
    write_run(tmp_path / 'trial', 0, epochs=1)
    write_run(tmp_path / 'alone', 0, batch_size=64, **MARGIN)
    cells = cells_of(tmp_path)
    baselines = statistics.find_baselines(cells, None)
    at = {
        tuple(cell.fields[name] for name in ('epochs', 'batch_size', 'long_tail.factor', 'arm')): i
        for i, cell in enumerate(cells)
    }
    setting = [(*fields[:3],) for fields in at]
    compared = {fields: setting[baselines[i]] for fields, i in at.items()}
    common = setting[statistics.common_baseline(baselines)]
    for fields, other in compared.items():
        treated_with_a_plain_one = fields[3] == 'margin' and fields[1] != '64'
        assert other == (fields[:3] if treated_with_a_plain_one else common)


def test_a_cell_of_other_steps_is_compared_with_the_plain_cell_of_its_setting(tmp_path):
    for name, epochs, batch in (('trial', 1, 16), ('plain', 8, 16), ('wide', 8, 64)):
        write_run(tmp_path / name, epochs=epochs, batch_size=batch)
    for batch in (16, 64):
        removal = {'removal__ratio': 0.2, 'removal__method': 'random', 'steps': 40}
        write_run(tmp_path / f'removed {batch}', epochs=8, batch_size=batch, **removal)
    cells = cells_of(tmp_path)
    found = list(zip(cells, statistics.find_baselines(cells, None), strict=True))
    assert [cell.fields['steps'] for cell in cells].count('40') == 2
    for cell, at in found:
        if cell.fields['steps'] == '40':
            for name in ('epochs', 'batch_size'):
                assert cells[at].fields[name] == cell.fields[name]
            assert cells[at].fields['removal.ratio'] == '0'


def test_equal_updates_belong_to_a_treatment(tmp_path):
    removal = {'removal__ratio': 0.2, 'removal__method': 'random', 'equal_updates': True}
    for batch in (16, 64):
        write_run(tmp_path / f'plain {batch}', batch_size=batch)
        write_run(tmp_path / f'removed {batch}', batch_size=batch, **removal)
    cells = cells_of(tmp_path)
    for cell, at in zip(cells, statistics.find_baselines(cells, None), strict=True):
        if cell.fields['removal.ratio'] != '0':
            assert cells[at].fields['batch_size'] == cell.fields['batch_size']


def test_a_cell_of_mixed_images_is_not_untreated(tmp_path):
    for ratio in (0.0, 0.2):
        write_run(tmp_path / str(ratio), mixed__ratio=ratio)
    assert [statistics.is_plain(cell) for cell in cells_of(tmp_path)] == [True, False]


def test_objectives_are_compared_with_each_other_and_temperatures_are_not(tmp_path):
    for name in ('nt_xent', 'debiased'):
        for temperature in (0.2, 0.5):
            loss = {'loss__name': name, 'loss__temperature': temperature}
            write_run(tmp_path / f'{name} {temperature}', **loss)
    cells = cells_of(tmp_path)
    baselines = statistics.find_baselines(cells, None)
    assert [cell.fields['loss.name'] for cell in cells].count('debiased') == 2
    for cell, at in zip(cells, baselines, strict=True):
        assert cells[at].fields['loss.name'] == 'nt_xent'
        if cell.fields['loss.name'] == 'debiased':
            assert cells[at].fields['loss.temperature'] == cell.fields['loss.temperature']


def test_runs_of_one_seed_count_once(runs):
    write_run(runs / 'again', 0, 0.7)
    report = report_of(runs)
    assert texts(report, 'Cells')[0]['seeds'] == '0 (2 runs) 1 2'
    # Of 0.6 (of 0.5 and 0.7), 0.6 and 0.7.
    assert texts(report, 'Test accuracy')[0]['linear'] == '63.33 ± 5.77 (3)'
