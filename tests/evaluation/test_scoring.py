"""Difficulty of any number of samples: the same numbers in tiles and by blocks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import contrastive_jax
from contrastive_jax import graph
from contrastive_jax.data.feature_rows import array_rows, open_rows
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import samples
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles import store
from contrastive_jax.evaluation.tiles.plan import TileLayout, cost_text, plan_tiles
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.graph import columns as graph_columns
from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.runtime import distributed
from tests.evaluation.scored import ALL, FEATURES, LABELS, K, N
from tests.marks import in_ci

ROOT = Path(__file__).parents[2]
EXACT = graph.sample_difficulty(FEATURES, pos_high=0.1, pos_low=0.5)
ISOLATION = graph.isolation(FEATURES)


def _check_all(columns):
    for name, values in EXACT._asdict().items():
        np.testing.assert_allclose(columns[name], values, atol=2e-6)
    np.testing.assert_allclose(columns['isolation'], ISOLATION, atol=2e-6)
    both = graph.scores.boundary(columns['score'], columns['isolation'])
    np.testing.assert_array_equal(columns['boundary'], both)
    margin = graph.scores.supervised_margin(FEATURES, LABELS)
    np.testing.assert_allclose(columns['supervised_margin'], margin, atol=1e-5)
    partner = graph.nearest_difficult(FEATURES, np.arange(N), pos_high=0.1, pos_low=0.5)
    # Rounding may exchange two that are equally near.
    assert np.mean(columns['partner'] == partner) > 0.99


def test_tiles_give_the_scores_of_the_whole(small_tiles):
    found = score_rows(array_rows(FEATURES), ALL, LABELS)
    assert (found.layout.streamed, found.layout.anchors) == (False, 4)
    _check_all(found.columns)


def test_rows_in_blocks_give_the_scores_of_the_whole(small_tiles):
    layout = plan_tiles(N, K, landmarks=None, devices=4, available=10**9)
    # A little less than all rows on each device take.
    available = int((layout.memory - 3 * 4 * K * layout.anchors) / 0.6) - 9
    found = score_rows(array_rows(FEATURES), ALL, LABELS, available=available)
    assert found.layout.streamed
    assert found.layout.anchors * 4 < N
    _check_all(found.columns)


def test_one_tile_gives_the_scores_of_the_whole():
    found = contrastive_jax.difficulty(FEATURES, progress=False)
    for name in (*EXACT._fields, 'isolation'):
        assert getattr(found, name).shape == (N,)
    np.testing.assert_allclose(found.score, EXACT.score, atol=2e-6)
    np.testing.assert_allclose(found.isolation, ISOLATION, atol=2e-6)
    assert (found.error, found.low, found.high) == (None, None, None)


def test_landmarks_that_are_all_others_give_the_exact_score():
    found = contrastive_jax.difficulty(FEATURES, landmarks=N - 1, progress=False)
    np.testing.assert_allclose(found.score, EXACT.score, atol=2e-6)
    np.testing.assert_allclose(found.isolation, ISOLATION, atol=2e-6)
    np.testing.assert_array_equal(found.error, 0)


def test_too_few_landmarks_in_the_top_band_are_said_in_python_too(capsys):
    contrastive_jax.difficulty(FEATURES, landmarks=20, pos_high=0.25)
    said = capsys.readouterr().err
    assert 'note: the top band, pos_high=0.25, holds 5 of 20 landmarks' in said
    assert 'landmarks=200 puts 50 into it' in said
    contrastive_jax.difficulty(FEATURES, landmarks=200, pos_high=0.25)
    assert 'note' not in capsys.readouterr().err


def test_landmarks_come_with_errors_that_hold(small_tiles):
    found = contrastive_jax.difficulty(FEATURES, landmarks=60, progress=False)
    exact = np.asarray(EXACT.score)
    # One draw for all anchors: their errors are alike, so the share varies more than by chance.
    assert np.mean(np.abs(found.score - exact) <= 1.96 * found.error) > 0.85
    for name, values in EXACT._asdict().items():
        low, high = getattr(found.low, name), getattr(found.high, name)
        assert np.mean((low <= values) & (values <= high)) >= 0.95
    again = contrastive_jax.difficulty(FEATURES, landmarks=60, progress=False)
    np.testing.assert_array_equal(found.score, again.score)
    other = contrastive_jax.difficulty(FEATURES, landmarks=60, seed=1, progress=False)
    assert np.any(found.score != other.score)


@pytest.mark.parametrize('n', [2, 3])
def test_few_samples_have_scores(n):
    rows = FEATURES[:n]
    found = contrastive_jax.difficulty(rows, progress=False)
    expected = graph.sample_difficulty(rows, pos_high=0.1, pos_low=0.5)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-6)
    np.testing.assert_allclose(found.alpha, expected.alpha, atol=1e-6)


def test_equal_rows_have_score_zero():
    found = contrastive_jax.difficulty(np.full((40, 3), 7.1), landmarks=20, progress=False)
    assert not found.score.any()
    assert not found.error.any()


def test_more_tiles_compile_no_more_programs(small_tiles, compiled):
    score_rows(array_rows(FEATURES[:120]), Request())
    few = compiled.total()
    score_rows(array_rows(FEATURES), Request())
    assert 0 < compiled.total() - few <= few


@pytest.mark.parametrize(
    ('request_', 'words'),
    [
        (Request(0.5, 0.1), 'pos_high=0.5, pos_low=0.1'),
        (Request(landmarks=1), f'landmarks=1: need 2 to {N - 1}'),
        (Request(landmarks=N), f'landmarks={N}: need 2 to {N - 1}'),
        (Request(columns=('sas',)), r'--columns=sas: .*sas needs .* in memory'),
        (Request(columns=('colour',)), '--columns=colour: need some of score'),
        (Request(columns=('supervised_margin',)), 'needs --labels'),
    ],
)
def test_requests_that_cannot_be_are_one_line(request_, words):
    with pytest.raises(UserError, match=words) as caught:
        score_rows(array_rows(FEATURES), request_)
    assert '\n' not in str(caught.value)


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize('landmarks', [50.0, True])
def test_landmarks_that_are_no_whole_number_are_refused_as_such(landmarks):
    with pytest.raises(UserError, match=rf'landmarks={landmarks}: need a whole number, 2 to 210'):
        contrastive_jax.difficulty.__wrapped__(FEATURES, landmarks=landmarks)


_ROWS = np.random.default_rng(0).normal(size=(9, 3))


def _with(row, value):
    rows = _ROWS.copy()
    rows[row] = value
    return rows


@pytest.mark.parametrize(
    ('features', 'words'),
    [
        (_with(2, np.nan), r'^features: row 2 holds NaN \(1 of 9 rows\); leave'),
        (_with(5, np.inf), 'row 5 holds infinity'),
        (_with(4, 0), 'row 4 holds only zeros'),
        (_ROWS[:1], '^features: one row, .*; give at least two'),
        (_ROWS[:0], 'is empty'),
        (np.ones((9, 3), int), r'^features: holds int64 \[9, 3\]; need floats \[n, k\]'),
        (_ROWS.astype(object), r'holds object \[9, 3\]; need floats'),
        (_ROWS[:, 0], r'holds float64 \[9\]; need floats \[n, k\]'),
        (_ROWS.tolist(), '^features: list; give a NumPy or JAX array'),
        (pd.DataFrame(_ROWS), '^features: DataFrame; give a NumPy or JAX array'),
        (np.ma.masked_less(_ROWS, 0), '^features: MaskedArray; give a NumPy or JAX array'),
    ],
)
def test_features_that_cannot_be_scored_are_refused_in_one_line(features, words):
    # Without the check of the annotations that tests add.
    difficulty = contrastive_jax.difficulty.__wrapped__
    with pytest.raises(UserError, match=words) as caught:
        difficulty(features, progress=False)
    assert '\n' not in str(caught.value)


@pytest.mark.filterwarnings('ignore:the matrix subclass')
def test_a_matrix_of_numpy_is_refused():
    with pytest.raises(UserError, match=r'^features: matrix; give a NumPy or JAX array'):
        contrastive_jax.difficulty.__wrapped__(np.asmatrix(_ROWS), progress=False)


def test_a_file_that_changes_between_tiles_is_noticed(small_tiles, tmp_path, monkeypatch):
    path = tmp_path / 'x.npy'
    np.save(path, FEATURES)
    rows = open_rows(str(path))
    read = rows.blocks

    def blocks(*arguments):
        for block in read(*arguments):
            yield block
            np.save(path, FEATURES[::-1])

    monkeypatch.setattr(rows, 'blocks', blocks)
    with pytest.raises(UserError, match=r'x\.npy: has been changed while it was read'):
        score_rows(rows, Request(), keep=tmp_path / 'tiles')


def test_what_does_not_fit_is_refused_with_what_would():
    options = {'devices': 1, 'available': 2**30}
    with pytest.raises(
        UserError, match=r'--landmarks=1000000: .*; --landmarks=(\d+) fits'
    ) as caught:
        plan_tiles(10**8, 512, landmarks=10**6, **options)
    fit = int(str(caught.value).split('--landmarks=')[2].split()[0])
    assert not plan_tiles(10**8, 512, landmarks=fit, **options).streamed
    with pytest.raises(UserError, match=r'--landmarks=\d+ fits'):
        plan_tiles(10**8, 512, landmarks=fit + 1, **options)
    with pytest.raises(UserError, match=r'100000000 rows: .* GiB are needed.*--landmarks=\d+ fits'):
        plan_tiles(10**8, 512, landmarks=None, **options)
    assert plan_tiles(10**6, 512, landmarks=None, devices=1, available=2**31).streamed
    assert not plan_tiles(10**5, 512, landmarks=None, devices=1, available=2**32).streamed


def test_the_classes_of_the_margin_are_part_of_the_memory_and_of_the_cost():
    options = {'landmarks': 4096, 'devices': 1, 'available': 2**33}
    few, many = (plan_tiles(10**6, 128, classes=c, **options) for c in (0, 10**5))
    # The sums over classes, their directions and a block of cosines, all in float64.
    assert 16 * 10**5 * 128 < many.memory - few.memory < 2**29
    with pytest.raises(UserError, match=r'--labels: 10000000 classes: .*--columns=score'):
        plan_tiles(10**7, 128, classes=10**7, **options)
    cost = {'landmarks': 1000, 'stages': 1, 'num_bytes': 2**33, 'classes': 500}
    text = cost_text(10**6, 8, many, seconds=300.0, margin_seconds=300.0, **cost)
    assert '1000 landmarks, 500 classes: 2.4e+10 floating-point operations' in text
    assert 'about 10 min by a short trial; ten minutes are enough for --landmarks=1000' in text
    slow = cost_text(10**6, 8, many, seconds=30.0, margin_seconds=900.0, **cost)
    assert slow.endswith('about 16 min by a short trial')


@pytest.mark.parametrize('landmarks', [None, 4096])
@pytest.mark.parametrize('n', [10, 10**3, 10**6])
def test_layouts_keep_to_the_memory(n, landmarks):
    if landmarks is not None and landmarks >= n:
        landmarks = n - 1
    options = {'landmarks': landmarks, 'devices': 2}
    for available in (2**28, 2**31, 2**36):
        if (n, landmarks, available) == (10**6, None, 2**28):
            # All cosines of 16 anchors, in five copies, are 320 MB. Nothing else is refused.
            with pytest.raises(UserError, match=r'1000000 rows: .*--landmarks=\d+ fits'):
                plan_tiles(n, 256, available=available, **options)
            continue
        found = plan_tiles(n, 256, available=available, **options)
        # Of 2 GiB 1.29 GB may be used: too little for 1 GB of rows and 0.32 GB of their cosines.
        assert found.streamed == ((n, landmarks, available) == (10**6, None, 2**31))
        assert 1 <= found.anchors <= -(-n // 2)
        assert found.memory <= available


def test_the_cost_is_said_before(capsys):
    score_rows(array_rows(FEATURES), Request(landmarks=50))
    said = capsys.readouterr().err
    assert f'{N} samples of {K} features' in said
    assert f'50 landmarks: {2.0 * N * 50 * K:.1e} floating-point operations' in said
    layout = TileLayout(False, 1024, 1024, 2**30)
    options = {'landmarks': 1000, 'stages': 1, 'num_bytes': 2**33}
    text = cost_text(10**7, 512, layout, seconds=1200.0, **options)
    assert cost_text(10**7, 512, layout, seconds=1200.0, left=0.05, **options) == text.replace(
        'by a short trial', 'by a short trial, of which 60 s are left'
    )
    assert 'about 20 min by a short trial; ten minutes are enough for --landmarks=500' in text
    assert '(8.00 GiB)' in text
    short = cost_text(10**4, 512, layout, seconds=1.0, **options)
    assert short.endswith('trial; an exact score would take less than ten minutes')
    exact = cost_text(10**4, 512, layout, seconds=1.0, **options | {'landmarks': None})
    assert exact.endswith('by a short trial')


_MEMORY = """
import re, sys, numpy as np, jax
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.data.feature_rows import array_rows, open_rows
def resident():
    with open('/proc/self/status') as file:
        return int(re.search(r'RssAnon:\\\\s+(\\\\d+)', file.read())[1]) * 1024
import threading
peak, over = [0], threading.Event()
def watch():
    while not over.wait(0.005):
        peak[0] = max(peak[0], resident())
first = np.ones((64, 256), np.float16) + np.eye(64, 256, dtype=np.float16)
score_rows(array_rows(first), Request(landmarks=20))
before = resident()
thread = threading.Thread(target=watch)
thread.start()
rows = np.load(sys.argv[1], mmap_mode='r') if sys.argv[2] == 'map' else None
score_rows(open_rows(sys.argv[1]) if rows is None else array_rows(rows), Request(landmarks=20))
over.set()
thread.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
@pytest.mark.parametrize('how', [pytest.param('map', marks=pytest.mark.slow), *in_ci('file')])
def test_features_are_never_copied_as_a_whole(tmp_path, how):
    path = tmp_path / 'x.npy'
    n, k = 800_000, 256
    rows = np.lib.format.open_memmap(path, 'w+', np.float16, (n, k))
    block = np.random.default_rng(0).normal(size=(10_000, k)).astype(np.float16)
    for start in range(0, n, len(block)):
        rows[start : start + len(block)] = block
    del rows
    done = subprocess.run(
        [sys.executable, '-c', _MEMORY.replace('\\\\', '\\'), str(path), how],
        env=os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # As float32 they are 819 MB, as float16 410 MB.
    assert int(done.stdout) < 380e6


def test_many_samples_in_memory_have_the_same_scores_and_say_what_they_cost(
    monkeypatch, capsys, tmp_path
):
    drawn = samples.Samples(FEATURES, LABELS, tuple('abcde'), None, 'rows')
    options = samples.Options(0.1, 0.5)
    at_once = samples.score(drawn, options)
    assert 'operations' not in capsys.readouterr().err
    monkeypatch.setattr(samples, '_MANY_SAMPLES', N - 1)
    in_tiles = samples.score(drawn, options, keep=tmp_path / 'tiles')
    assert capsys.readouterr().err.count('floating-point operations') == 1
    assert at_once.keys() == in_tiles.keys()
    for name in ('score', 'alpha', 'beta', 'gamma', 'isolation', 'sas', 'verdict'):
        np.testing.assert_allclose(at_once[name], in_tiles[name], atol=2e-6)
    # The same again reads what was kept.
    monkeypatch.setattr(store.TileStore, 'write', lambda *_: pytest.fail('computed again'))
    again = samples.score(drawn, options, keep=tmp_path / 'tiles')
    np.testing.assert_array_equal(again['score'], in_tiles['score'])
    assert [path.name for path in tmp_path.iterdir()] == [f'tiles.{N}']


@pytest.mark.parametrize('n', [60, 100])
def test_among_few_samples_without_outliers_hardly_any_is_called_one(n):
    """By one neighbour, nearly half of them would be."""
    rows = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    found = samples.score(samples.Samples(rows, None, (), None, 'rows'), samples.Options(0.1, 0.5))
    assert np.sum(found['verdict'] == VERDICTS.index('outlier')) <= 2
    isolation = graph.isolation(rows)
    np.testing.assert_allclose(found['isolation'], isolation, atol=1e-6)


def test_a_process_without_rows_gathers_as_the_others_do(monkeypatch):
    """Nine samples of four processes: the last has none of them."""
    gathered = []
    monkeypatch.setattr(distributed, 'own_rows', lambda n: slice(n, n))
    monkeypatch.setattr(
        distributed, 'gather_rows', lambda rows, n: gathered.append(rows) or FEATURES[:, 0]
    )
    score_rows(array_rows(FEATURES), Request(columns=('score', 'isolation')))
    assert [len(rows) for rows in gathered] == [0] * len(gathered)
    # The densities, and then score, three means and isolation.
    assert len(gathered) == 6


def test_a_band_without_an_upper_end_says_nothing_of_the_classes():
    found = graph_columns.score_columns(FEATURES, pos_high=0.0, pos_low=0.5)
    assert len(np.unique(found['latent_class'])) == 10
