import math

import numpy as np
import pytest

from contrastive_jax.config import FIELDS
from contrastive_jax.reporting.collect import MEASURES, Run, as_text
from contrastive_jax.theory import SimilarityModel, bounds, spectrum
from studies.predicted_order import PLAIN, Cell, by_seed, cell_of, correlation, predicted, report

MODEL = SimilarityModel(10, 600, 400, 0.7, 0.2, 0.5)
K = 32
FACTORS = [Cell(rho=rho) for rho in (0.5, 0.8, 1.0, 1.1)]
RATIOS = [PLAIN] + [Cell(method, q) for method in ('difficulty', 'random') for q in (0.1, 0.5)]


def _run(accuracy, seed=0, **fields):
    config = {path: as_text(field.default) for path, field in FIELDS.items()}
    config |= {path.replace('__', '.'): str(value) for path, value in fields.items()}
    return Run('runs/x', 'finished', '', config, seed, dict.fromkeys(MEASURES, accuracy), {})


def test_a_larger_part_of_the_difficult_images_is_predicted_to_do_more_harm():
    full, some, half, some_random, half_random = range(5)
    for form, of in predicted(MODEL, RATIOS, K).items():
        assert of[full] < of[some] < of[half], form
        assert of[full] < of[some_random] < of[half_random], form
    # Only the printed fraction tells which images go, as long as difficult ones are left.
    assert np.ptp(predicted(MODEL, RATIOS, K)['matched'][[half, half_random]]) == 0
    printed = predicted(MODEL, RATIOS, K)['printed']
    assert printed[half] > printed[half_random]


def test_corollary_4_1_is_the_end_of_removal():
    share = MODEL.difficult_per_class / MODEL.samples_per_class
    found = predicted(MODEL, [Cell('difficulty', share)], K)
    expected = bounds(MODEL, 0.1, K).removed
    assert [of[0] for of in found.values()] == pytest.approx(list(expected), abs=1e-11)


def test_price_and_eigenvalue_predict_opposite_orders_of_rho():
    found = predicted(MODEL, FACTORS, K)
    assert np.all(np.diff(found['printed']) < 0)
    assert np.all(np.diff(found['matched']) > 0)
    assert np.ptp(found['block']) == 0
    exact = 0.4 / (1 - spectrum(MODEL, 'matched').eigenvalue(K + 1)) + 0.8
    assert found['printed'][2] == found['matched'][2] == pytest.approx(exact, abs=1e-11)


def test_a_lower_bound_should_go_with_a_higher_accuracy():
    bound = np.array([1.0, 2.0, 3.0])
    assert correlation(bound, np.array([0.9, 0.8, 0.7])) == pytest.approx(1)
    assert correlation(bound, np.array([0.7, 0.8, 0.9])) == pytest.approx(-1)
    assert math.isnan(correlation(np.ones(3), np.array([0.7, 0.8, 0.9])))


def test_the_report_says_which_form_predicts_and_which_nothing():
    gains = {0: (0.1, 0.2, 0.3, 0.4), 1: (0.1, 0.2, 0.4, 0.3), 2: (0.1, 0.3, 0.2, 0.4)}
    runs = {
        seed: {cell: _run(value) for cell, value in zip(FACTORS, values, strict=True)}
        for seed, values in gains.items()
    }
    lines = report(runs, lambda workdir: (MODEL, K)).splitlines()
    rows = {line.split('|')[1].strip(): line for line in lines if line.startswith('| ')}
    # Correlations 1, 0.8, 0.8: mean 0.867, deviation 0.115, reach 4.303 0.115 / sqrt(3) = 0.287.
    assert '+0.87 [+0.58, +1.00]' in rows['printed']
    assert '-0.87 [-1.00, -0.58]' in rows['matched']
    assert rows['block'].count('predicts nothing') == len(MEASURES)
    assert rows['plain'].split('|')[-2].strip() == '30.00'


def test_seeds_whose_accuracies_tie_are_left_out_with_a_count():
    gains = {0: (0.1, 0.2, 0.3, 0.4), 1: (0.3, 0.3, 0.3, 0.3), 2: (0.1, 0.2, 0.3, 0.4)}
    runs = {
        seed: {cell: _run(value) for cell, value in zip(FACTORS, values, strict=True)}
        for seed, values in gains.items()
    }
    text = report(runs, lambda workdir: (MODEL, K))
    assert '+1.00 (2 of 3 seeds, the others tie)' in text


def test_a_cell_is_read_off_the_config():
    scaled = {'pairs__select': 'difficult', 'pairs__temperature_scale': 0.7, 'pairs__margin': 0}
    assert cell_of(_run(0.5, pairs__select='none')) == PLAIN
    assert cell_of(_run(0.5, **scaled)) == Cell(rho=0.7)
    removed = {'pairs__select': 'none', 'removal__method': 'random', 'removal__ratio': 0.2}
    assert cell_of(_run(0.5, **removed)) == Cell('random', 0.2)
    for other in ({'pairs__margin': 0.1}, {'pairs__select': 'all'}, {'pairs__remove': True}):
        with pytest.raises(SystemExit, match='not a run of cor41 or thm45'):
            cell_of(_run(0.5, **scaled | other))


def test_seeds_are_compared_over_the_same_cells(monkeypatch):
    def read(cells):
        runs = dict(enumerate(cells))
        monkeypatch.setattr('studies.predicted_order.find_runs', lambda folders: list(runs))
        monkeypatch.setattr('studies.predicted_order.read_run', runs.get)
        return by_seed(['runs'])

    plain, other = {'pairs__select': 'none'}, {'removal__method': 'random', 'removal__ratio': 0.2}
    assert read([_run(0.5, 1, **plain), _run(0.5, 0, **plain)]).keys() == {0, 1}
    with pytest.raises(SystemExit, match='seed 1 has no finished plain run'):
        read([_run(0.5, 0, **plain), _run(0.5, 1, **plain | other)])
    with pytest.raises(SystemExit, match='seed 1 has not the same finished cells'):
        read([_run(0.5, 0, **plain), _run(0.5, 0, **plain | other), _run(0.5, 1, **plain)])
    longer = _run(0.5, 0, **plain, epochs=9)
    with pytest.raises(SystemExit, match='have one seed and are both plain'):
        read([_run(0.5, 0, **plain), longer])
    scaled = {'pairs__select': 'difficult', 'pairs__temperature_scale': 0.7, 'pairs__margin': 0}
    with pytest.raises(SystemExit, match='give the runs of cor41 or those of thm45'):
        read([_run(0.5, 0, **fields) for fields in (plain, plain | other, scaled)])
    with pytest.raises(SystemExit, match='none is finished'):
        read([_run(0.5, 0, **plain)._replace(status='unfinished')])
