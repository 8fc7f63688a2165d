"""The tables of a comparison, from energies that are known beforehand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from contrastive_jax.ebt.verifier import comparison, measure
from contrastive_jax.ebt.verifier.comparison import STEPS, SYSTEM_2, PairSplit, make_split
from contrastive_jax.ebt.verifier.encoding import Bank
from contrastive_jax.ebt.verifier.fitting import Fitted
from contrastive_jax.ebt.verifier.infer import Energies
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.ebt.verifier.pairs import Pairs
from contrastive_jax.numerics import host_unit_rows

# Two anchors with two partners each. The pairs of an anchor are j - i = 0, 1 and 2.
PAIRS = Pairs(np.array([0, 3]), np.array([[1, 2], [4, 5]]), np.zeros((2, 2)))


def _encoded(unit, tokens=0.0):
    """Images whose only feature and only token are these numbers."""
    unit = np.asarray(unit, float)
    return Encoded(unit[:, None], np.broadcast_to(tokens, len(unit))[:, None, None])


def _fitted(factor=1.0):
    return Fitted(None, {'offset': np.zeros(()), 'factor': factor}, {}, 0)


def test_instances_are_the_anchor_and_its_partners_with_each_view():
    clean, *views = (_encoded(np.full(6, value)) for value in (1, 2, 3))
    split = PairSplit(Bank(clean, tuple(views)), None, PAIRS)
    sides, own = comparison._instance_sides(split)
    assert own.tolist() == [[True, False, False]] * 2
    assert (sides.i.tolist(), sides.j.tolist()) == ([0, 0, 0, 3, 3, 3], [0, 1, 2, 3, 4, 5])
    # The anchor is as it is, and all that it is compared with is augmented, also without a view.
    assert [side.unit[0, 0] for side in sides.first] == [1, 1, 1]
    assert [side.unit[0, 0] for side in sides.second] == [2, 2, 3]


def test_the_weight_is_the_one_that_finds_the_anchor_itself(monkeypatch):
    def pair_energies(fitted, first, second, i, j, *, steps):
        # Own pairs have 0. Of the others one needs a weight above 1, and one a weight below 3.
        kind = j - i
        gain = np.zeros((steps + 1, len(i)))
        gain[2] = np.array([0.0, 1.0, -1.0])[kind]
        return Energies(np.array([0.0, -1.0, 3.0])[kind], gain, np.zeros_like(gain))

    monkeypatch.setattr(comparison, 'pair_energies', pair_energies)
    bank = Bank(_encoded(np.ones(6)), (_encoded(np.ones(6)),))
    weight, energies = comparison.choose_weight(PairSplit(bank, None, PAIRS), _fitted())
    assert weight == 2
    assert energies.energy.tolist() == [0, -1, 3] * 2
    assert energies.gain.shape == (max(STEPS) + 1, 6)


def test_every_score_is_high_where_its_energy_is_low(monkeypatch):
    def pair_energies(fitted, first, second, i, j, *, steps):
        energy = fitted.params['factor'] * second.tokens[j, 0, 0]
        return Energies(energy, *(np.zeros((1, len(i))) for _ in range(2)))

    monkeypatch.setattr(comparison, 'pair_energies', pair_energies)
    encoded = [
        _encoded([1.0, 0.5, 0.25], [0, 6, 7]),
        _encoded([1.0, 0.2, 0.4], [0, 5, 2]),
        _encoded([0.5, 0.6, 0.4], [0, 1, 4]),
    ]
    sides = comparison._Sides(encoded, encoded, np.array([0, 0]), np.array([1, 2]))
    given = Energies(
        np.array([8.0, 9.0]),
        np.array([[0.0, 0.0], [50.0, 50.0], [1.0, 3.0]]),
        np.array([[0.0, 0.0], [70.0, 70.0], [2.0, 5.0]]),
    )
    verifiers = {SYSTEM_2: _fitted(), 'control': _fitted(10.0)}
    scores = comparison._scores(sides, verifiers, 0.5, given)
    expected = {
        'cosine': [0.5, 0.25],
        'cosine, mean of views': [(0.2 + 0.3) / 2, (0.4 + 0.2) / 2],
        'control': [-60, -70],
        'system 2': [-8, -9],
        'system 2, with G of 2 steps': [-8.5, -10.5],
        # By view the energies are 5 and 2, and 1 and 4.
        'system 2, mean of views': [-3, -3],
        'system 2, lowest of views': [-1, -2],
        'G of 2 steps alone': [-1, -3],
        'd of 2 steps alone': [-2, -5],
    }
    assert scores.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name], values, err_msg=name)


def test_tables_tell_the_cosine_from_a_system_2_that_knows_the_classes(monkeypatch):
    monkeypatch.setattr(measure, '_RESAMPLES', 4)
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    unit = host_unit_rows(rng.normal(size=(40, 3))).astype(np.float64)
    tokens = np.zeros((40, 1, 1))
    views = [host_unit_rows(unit + 0.1 * rng.normal(size=unit.shape)) for _ in range(2)]
    bank = Bank(Encoded(unit, tokens), tuple(Encoded(view, tokens) for view in views))
    split = make_split(bank, labels, 12, {'pos_high': 0.1, 'pos_low': 0.6}, 8)

    def pair_energies(fitted, first, second, i, j, *, steps):
        # Thinking gains where the classes differ, and moves where they agree.
        differ, steps = labels[i] != labels[j], np.arange(steps + 1.0)[:, None]
        return Energies(differ - 2.0 * (i == j), steps * differ, steps * ~differ)

    monkeypatch.setattr(comparison, 'pair_energies', pair_energies)
    calibration = {'cosine': (2.0, -1.0), 'system 2': (1.0, 0.0)}
    tables = comparison.comparison_tables(split, {SYSTEM_2: _fitted()}, 0.0, None, calibration)

    same = labels[split.pairs.anchors][:, None] == labels[split.pairs.partners]
    cosine = roc_auc_score(same.ravel(), split.pairs.cosine.ravel())
    assert 0.3 < cosine < 0.7
    assert tables['same_class_share'] == same.mean()
    assert tables['instance'][SYSTEM_2]['auc'] == tables['class'][SYSTEM_2]['auc'] == 1
    assert tables['class']['cosine']['auc'] == pytest.approx(cosine)
    # A small augmentation leaves the anchor nearest to itself.
    assert 0.9 < tables['instance']['cosine']['auc'] <= 1

    assert tables['undecided_cosine'] == 0.5
    distance = np.abs(split.pairs.cosine - 0.5)
    edges = [edge for row in tables['by_margin'] for edge in row['margin']]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == pytest.approx((distance.min(), distance.max()))
    assert [row['system 2'] for row in tables['by_margin']] == [1, 1, 1, 1]
    assert all(row['cosine'] < 0.9 for row in tables['by_margin'])
    ends = [tables['by_fraction'][at]['auc'] for at in (0, -1)]
    assert ends == pytest.approx([cosine, 1])

    # As often as the nearest image has the class of the anchor; of ten, one has it always.
    nearest = np.argsort(-(unit @ unit.T), axis=1)[split.pairs.anchors, 1]
    share = np.mean(labels[nearest] == labels[split.pairs.anchors])
    assert tables['recall_at_1']['cosine'] == share < tables['recall_at_1'][SYSTEM_2] == 1
    steps = tables['class_by_steps']
    assert [row['steps'] for row in steps] == list(STEPS)
    assert [row['G'] for row in steps] == [0.5, 1, 1, 1, 1]
    assert [row['d'] for row in steps] == [0.5, 0, 0, 0, 0]
