"""Finished tiles of a scoring: kept, gone on from after a stop, and of one scoring at a time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax import graph
from contrastive_jax.data.feature_rows import array_rows, open_rows
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles import engine, store
from contrastive_jax.evaluation.tiles.margins import Margins
from contrastive_jax.evaluation.tiles.request import Request
from tests.evaluation.scored import ALL, FEATURES, LABELS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('request_', [ALL, ALL._replace(landmarks=50)], ids=['exact', 'landmarks'])
def test_finished_tiles_are_kept_and_give_the_same_bits(
    small_tiles, tmp_path, request_, monkeypatch
):
    whole = score_rows(array_rows(FEATURES), request_, LABELS).columns
    keep = tmp_path / 'tiles'
    score_rows(array_rows(FEATURES), request_, LABELS, keep=keep)
    parts = sorted(keep.glob('score-*.npz'))
    assert len(parts) > 2
    # As if it had been stopped: one is missing, and one is damaged.
    parts[0].unlink()
    parts[-1].write_bytes(parts[-1].read_bytes()[:100])
    before = parts[1].stat().st_mtime_ns
    again = score_rows(array_rows(FEATURES), request_, LABELS, keep=keep).columns
    assert again.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)
    assert parts[1].stat().st_mtime_ns == before


def test_tiles_of_another_scoring_are_refused(small_tiles, tmp_path):
    request = Request()
    score_rows(array_rows(FEATURES), request, keep=tmp_path / 'tiles')
    for rows, other, words in (
        (FEATURES, request._replace(pos_high=0.2), 'pos_high differ'),
        (FEATURES, request._replace(landmarks=9), 'landmarks differ'),
        (FEATURES[::-1], request, 'checksum differ'),
    ):
        with pytest.raises(UserError, match=f'unfinished tiles of another scoring .*{words}'):
            score_rows(array_rows(rows), other, keep=tmp_path / 'tiles')
    found = score_rows(
        array_rows(FEATURES),
        request._replace(pos_high=0.2),
        keep=tmp_path / 'tiles',
        overwrite=True,
    )
    expected = graph.sample_difficulty(FEATURES, pos_high=0.2, pos_low=0.5)
    np.testing.assert_allclose(found.columns['score'], expected.score, atol=2e-6)


def test_margins_are_kept_as_tiles_and_belong_to_their_labels(small_tiles, tmp_path, monkeypatch):
    request = Request(columns=('supervised_margin',))
    complete = score_rows(array_rows(FEATURES), request, LABELS, keep=tmp_path / 'tiles').columns
    parts = sorted((tmp_path / 'tiles').glob('margin-*.npz'))
    assert len(parts) > 2
    monkeypatch.setattr(Margins, '_class_sums', lambda _: pytest.fail('computed again'))
    again = score_rows(array_rows(FEATURES), request, LABELS, keep=tmp_path / 'tiles').columns
    np.testing.assert_array_equal(again['supervised_margin'], complete['supervised_margin'])
    with pytest.raises(UserError, match=r'another scoring .*labels differ'):
        score_rows(array_rows(FEATURES), request, LABELS[::-1], keep=tmp_path / 'tiles')


_STOP = """
import os, pathlib, sys
import numpy as np
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles import plan, store
from contrastive_jax.evaluation.tiles.request import Request
plan._TILE_FLOPS = 2 * 211 * 6 * 4
plan.default_block = lambda n: 4
write = store.TileStore.write
def dying(self, *arguments):
    write(self, *arguments)
    os._exit(9)
store.TileStore.write = dying
from contrastive_jax.data.feature_rows import open_rows
keep = pathlib.Path(sys.argv[2])
score_rows(open_rows(sys.argv[1]), Request(), keep=keep)
"""


@pytest.mark.ci
def test_a_killed_scoring_goes_on_where_it_was(small_tiles, tmp_path, monkeypatch):
    np.save(tmp_path / 'x.npy', FEATURES)
    keep = tmp_path / 'tiles'
    environ = os.environ | {'PYTHONPATH': str(ROOT)}
    for finished in (1, 2):
        done = subprocess.run(
            [sys.executable, '-c', _STOP, str(tmp_path / 'x.npy'), str(keep)],
            env=environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 9, done.stderr
        assert len(list(keep.glob('score-*.npz'))) == finished
    whole, shares = score_rows(array_rows(FEATURES), Request()).columns, []
    monkeypatch.setattr(engine, 'cost_text', lambda *_, left, **__: shares.append(left) or '')
    resumed = score_rows(open_rows(str(tmp_path / 'x.npy')), Request(), keep=keep).columns
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)
    # Two tiles had been finished, and the densities before them where isolation is computed.
    tiles, stages = len(list(keep.glob('score-*.npz'))), 1 + ('isolation' in whole)
    assert shares == [pytest.approx((tiles - 2) / (stages * tiles))]


def test_a_folder_of_somebody_else_is_no_folder_of_tiles(tmp_path):
    (tmp_path / 'tiles').mkdir()
    (tmp_path / 'tiles' / 'precious.txt').write_text('mine')
    with pytest.raises(UserError, match=r"holds 'precious\.txt', which no scoring has written"):
        score_rows(array_rows(FEATURES), Request(), keep=tmp_path / 'tiles', overwrite=True)
    store.TileStore(tmp_path / 'tiles').remove()
    assert (tmp_path / 'tiles' / 'precious.txt').read_text() == 'mine'
    # What is left where deleting was stopped is deleted.
    (tmp_path / 'tiles' / 'precious.txt').rename(tmp_path / 'tiles' / 'score-000000000000.npz')
    (tmp_path / 'tiles' / 'manifest.json.0123abcd.part').touch()
    (tmp_path / 'tiles' / '.DS_Store').touch()
    (tmp_path / 'tiles' / '.git').mkdir()
    with pytest.raises(UserError, match=r"holds '\.git', which no scoring has written"):
        score_rows(array_rows(FEATURES), Request(), keep=tmp_path / 'tiles')
    (tmp_path / 'tiles' / '.git').rmdir()
    score_rows(array_rows(FEATURES), Request(), keep=tmp_path / 'tiles')
    store.TileStore(tmp_path / 'tiles').remove()
    assert not (tmp_path / 'tiles').exists()


def test_a_folder_that_another_process_scores_into_is_left_alone(tmp_path):
    folder = tmp_path / 'tiles'
    own = store.TileStore(folder)
    own.open({'scoring': 1}, {}, overwrite=False)
    code = f"""
from pathlib import Path
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.tiles.store import TileStore
other = TileStore(Path({str(folder)!r}))
other.remove()
try:
    other.open({{'scoring': 2}}, {{}}, overwrite=True)
except UserError as error:
    print(error)
"""

    def said_by_another() -> str:
        command = [sys.executable, '-c', code]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert 'another process is scoring into it; wait for it' in said_by_another()
    assert (folder / 'manifest.json').exists()
    own.release()
    assert said_by_another() == ''
    own.remove()
    assert not folder.exists()
