"""What a report says of the runs of a grid: names, curves of the monitor, chance, baselines."""

import json

import numpy as np
import pytest

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import read_run
from contrastive_jax.reporting.html import report_page
from contrastive_jax.reporting.pictures import pictures_of
from contrastive_jax.reporting.statistics import curves
from tests.reporting.runs import MARGIN, cells_of, fake_result, report_of, texts, write_run

SEEDS = range(5)


@pytest.fixture
def grid(tmp_path):
    """A baseline, a cell that is better by 20 points, and one that differs by noise."""
    names = {}
    for seed in SEEDS:
        noise = (0.003, -0.002, 0.001, 0.0, -0.001)[seed]
        for cell, accuracy, fields in (
            ('baseline', 0.5, {}),
            ('margin', 0.7 + noise, MARGIN),
            ('wide', 0.5 + noise, MARGIN | {'pairs__pos_low': 0.8}),
        ):
            folder = tmp_path / f'{cell}{seed}'
            looks = {'monitor/knn': 0.1 * seed, 'monitor/odd_one': 1.0}
            write_run(folder, seed, accuracy, monitor=looks, **fields)
            names[folder.name] = ['full', cell] if cell == 'baseline' else [cell]
    (tmp_path / 'cells.json').write_text(json.dumps(names))
    return tmp_path


def test_cells_have_the_names_of_their_grids_and_the_changes_beside_them(grid):
    rows = texts(report_of(grid), 'Test accuracy')
    assert [row['cell'] for row in rows] == ['1: full = baseline', '2: margin', '3: wide']
    assert [row['changes'] for row in rows] == [
        'baseline',
        'pairs.select=difficult, pairs.margin=0.1',
        'pairs.select=difficult, pairs.pos_low=0.8, pairs.margin=0.1',
    ]
    html = report_page(report_of(grid), cells_of(grid))
    assert '2: margin</button></li>' in html


def test_without_names_the_changes_name_a_cell(grid):
    (grid / 'cells.json').unlink()
    rows = texts(report_of(grid), 'Test accuracy')
    assert rows[1]['cell'] == '2: pairs.select=difficult, pairs.margin=0.1'
    assert 'changes' not in rows[1]
    assert read_run(grid / 'margin0').cells == ()


def test_a_damaged_file_of_names_is_refused(grid):
    (grid / 'cells.json').write_text('{')
    with pytest.raises(UserError, match=r'cells\.json: damaged.*delete it, and launch\.sweep'):
        report.run([str(grid)], grid / 'out')


def test_what_differs_beyond_chance_is_said(grid):
    rows = texts(report_of(grid), 'Difference')
    assert [row['beyond chance'] for row in rows] == [
        'linear +, few labels +, kNN +, 20-NN +',
        'none',
    ]
    # The plain intervals stay.
    assert rows[0]['linear'].startswith('+20.02 [+')


@pytest.mark.parametrize(
    ('spread', 'said'),
    [(0.05, 'none'), (0.035, 'none'), (0.01, 'linear +, few labels +, kNN +, 20-NN +')],
)
def test_chance_is_judged_over_the_whole_table(tmp_path, spread, said):
    # Four tests with p = 0.035, 0.018 and 0.0015 each.
    for seed, away in enumerate((-spread, 0.0, spread)):
        write_run(tmp_path / f'plain{seed}', seed, 0.5)
        write_run(tmp_path / f'margin{seed}', seed, 0.65 + away, **MARGIN)
    (row,) = texts(report_of(tmp_path), 'Difference')
    assert row['beyond chance'] == said


def test_too_few_pairs_are_no_test(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f'plain{seed}', seed, 0.5)
        write_run(tmp_path / f'margin{seed}', seed, 0.7 + seed / 100, **MARGIN)
    (row,) = texts(report_of(tmp_path), 'Difference')
    assert row['beyond chance'] == '—'


def test_baselines_are_shown_once_for_all_cells_that_agree(grid):
    rows = texts(report_of(grid), 'Without pre-training')
    assert [(row['representation'], row['cells']) for row in rows] == [
        ('untrained encoder', 'all'),
        ('raw pixels', 'all'),
    ]
    assert rows[0]['linear'] == '50.00 ± 0.00 (5)'
    # Another network: its untrained encoder is another one, raw pixels are the same.
    other = fake_result(0.5, 0, random_encoder_accuracy=0.6)
    write_run(grid / 'narrow', 0, result=other, model__width=2)
    rows = texts(report_of(grid), 'Without pre-training')
    shown = {(row['representation'], row['cells'], row['linear']) for row in rows}
    assert ('raw pixels', 'all', '25.00 ± 0.00 (5)') in shown
    assert sum(representation == 'untrained encoder' for representation, *_ in shown) == 2
    assert any(linear == '60.00 (1)' for *_, linear in shown)


def test_baselines_of_cells_without_a_common_seed_are_not_averaged(tmp_path):
    for seed, width in enumerate((16, 16, 64, 64)):
        result = fake_result(0.5, seed, random_encoder_accuracy=0.3 if width == 16 else 0.8)
        write_run(tmp_path / str(seed), seed, result=result, model__width=width)
    rows = texts(report_of(tmp_path), 'Without pre-training')
    found = [row['linear'] for row in rows if row['representation'] == 'untrained encoder']
    assert sorted(found) == ['30.00 ± 0.00 (2)', '80.00 ± 0.00 (2)']


def test_every_curve_of_the_monitor_is_drawn(grid):
    cells = cells_of(grid)
    epochs, values = curves(cells[0], 'monitor/knn')
    assert epochs == [0, 1]
    assert values.shape == (5, 2)
    # A look after the first epoch is drawn at 1, as in the atlas.
    (picture,) = (x for x in pictures_of(cells) if x.name == 'monitor/knn')
    assert picture.curves[0].epochs == [1, 2]
    html = report_page(report_of(grid), cells)
    assert 'Monitor: test accuracy of 20 nearest neighbours' in html
    assert '<figcaption>monitor/odd_one</figcaption>' in html
    assert 'RankMe' not in html


def test_the_band_of_a_curve_is_one_standard_deviation(tmp_path):
    for seed, loss in enumerate((1.0, 2.0, 6.0)):
        write_run(tmp_path / str(seed), seed, losses=(loss,))
    (picture,) = (x for x in pictures_of(cells_of(tmp_path)) if x.name == 'loss')
    np.testing.assert_allclose(picture.curves[0].std, np.sqrt(7))
