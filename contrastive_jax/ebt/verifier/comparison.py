"""Compares System 2 with System 1 and the controls on the pairs of the difficult band.

Axes: n images, m anchors, s partners of each, p = m s pairs, k features.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from contrastive_jax.data.sampling import representative
from contrastive_jax.ebt.verifier import measure
from contrastive_jax.ebt.verifier.encoding import Bank
from contrastive_jax.ebt.verifier.fitting import Fitted
from contrastive_jax.ebt.verifier.infer import Energies, pair_energies
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.ebt.verifier.pairs import Pairs, band_pairs, nearest_pairs
from contrastive_jax.ebt.verifier.rerank import k_reciprocal

__all__ = ['STEPS', 'SYSTEM_2', 'PairSplit', 'choose_weight', 'comparison_tables', 'make_split']

SYSTEM_2 = 'system 2'
STEPS = (0, 1, 2, 4, 8)
# Steps of thinking in the comparison of scores.
_USED = 2
_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# Nearest neighbours that are ranked again.
_NEAREST = 10
_CORE = 'cosine'


class PairSplit(NamedTuple):
    """Encoded images, and pairs of some of them.

    Attributes:
      bank: encodings of all images.
      labels: `[n]` class of each image, or None.
      pairs: anchors, each with partners from its band.
    """

    bank: Bank
    labels: Int[np.ndarray, ' n'] | None
    pairs: Pairs


class _Sides(NamedTuple):
    """Both images of some pairs: index 0 is the first encoding, and later ones are other views."""

    first: list[Encoded]
    second: list[Encoded]
    i: np.ndarray
    j: np.ndarray

    def cosine(self, view: int) -> np.ndarray:
        u, v = (np.asarray(side[view].unit) for side in (self.first, self.second))
        return np.sum(u[self.i] * v[self.j], axis=-1)

    def energies(self, fitted: Fitted, view: int, steps: int = 0) -> Energies:
        return pair_energies(
            fitted, self.first[view], self.second[view], self.i, self.j, steps=steps
        )


def make_split(
    bank: Bank,
    labels: Int[np.ndarray, ' n'] | None,
    anchors: int,
    band: dict[str, float],
    count: int,
) -> PairSplit:
    """Draws anchors, without use of labels, and takes pairs of their bands.

    Args:
      bank: encodings of the images.
      labels: `[n]` class of each image, or None.
      anchors: number of anchors.
      band: `pos_high` and `pos_low` of the difficult band.
      count: number of partners of each anchor.
    """
    unit = np.asarray(bank.clean.unit)
    chosen = representative(len(unit), anchors)
    return PairSplit(bank, labels, band_pairs(unit, chosen, count=count, **band))


def _class_sides(split: PairSplit, partners: np.ndarray) -> _Sides:
    encoded = [split.bank.clean, *split.bank.views]
    i = np.repeat(split.pairs.anchors, partners.shape[1])
    return _Sides(encoded, encoded, i, partners.ravel())


def _instance_sides(split: PairSplit) -> tuple[_Sides, np.ndarray]:
    """Pairs of each anchor with augmentations of itself and of its partners.

    The second value marks the pairs with itself.
    """
    anchors, partners = split.pairs.anchors, split.pairs.partners
    both = np.concatenate([anchors[:, None], partners], axis=1)
    views = list(split.bank.views)
    sides = _Sides(
        [split.bank.clean] * (len(views) + 1),
        [views[0], *views],
        np.repeat(anchors, both.shape[1]),
        both.ravel(),
    )
    return sides, both == anchors[:, None]


def _weighted(energies: Energies, weight: float, steps: int) -> np.ndarray:
    return -(energies.energy + weight * energies.gain[steps])


def choose_weight(split: PairSplit, fitted: Fitted) -> tuple[float, Energies]:
    """Chooses the weight of G_K, added to F, that best finds augmentations of the anchor itself.

    No labels are used.

    Args:
      split: images and pairs to choose on.
      fitted: System 2.

    Returns:
      The weight, and the energies of the pairs that it was chosen on.
    """
    sides, truth = _instance_sides(split)
    energies = sides.energies(fitted, 0, max(STEPS))
    aucs = [roc_auc_score(truth.ravel(), _weighted(energies, w, _USED)) for w in _WEIGHTS]
    return _WEIGHTS[int(np.argmax(aucs))], energies


def _scores(
    sides: _Sides, verifiers: dict[str, Fitted], weight: float, energies: Energies
) -> dict[str, np.ndarray]:
    """Every score of the pairs; high values mean compatible."""
    views = range(1, len(sides.first))
    scores = {
        _CORE: sides.cosine(0),
        'cosine, mean of views': np.mean([sides.cosine(view) for view in views], axis=0),
    }
    for name, fitted in verifiers.items():
        if name != SYSTEM_2:
            scores[name] = -sides.energies(fitted, 0).energy
    by_view = [-sides.energies(verifiers[SYSTEM_2], view).energy for view in views]
    return scores | {
        SYSTEM_2: -energies.energy,
        f'{SYSTEM_2}, with G of {_USED} steps': _weighted(energies, weight, _USED),
        f'{SYSTEM_2}, mean of views': np.mean(by_view, axis=0),
        # The best of N views is the one with the lowest energy.
        f'{SYSTEM_2}, lowest of views': np.max(by_view, axis=0),
        f'G of {_USED} steps alone': -energies.gain[_USED],
        f'd of {_USED} steps alone': -energies.motion[_USED],
    }


def _by_steps(energies: Energies, truth: np.ndarray, weight: float) -> list[dict]:
    """AUC by the number of steps of thinking, of F with G, of G alone and of d alone.

    A weight of 0 for G counts as 1 here.
    """
    rows = []
    for steps in STEPS:
        scores = {
            'F and G': _weighted(energies, weight or 1.0, steps),
            'G': -energies.gain[steps],
            'd': -energies.motion[steps],
        }
        aucs = {name: float(roc_auc_score(truth.ravel(), s.ravel())) for name, s in scores.items()}
        rows.append({'steps': steps, **aucs})
    return rows


def comparison_tables(
    split: PairSplit,
    verifiers: dict[str, Fitted],
    weight: float,
    instances: Energies | None,
    calibration: dict[str, tuple[float, float]] | None,
) -> dict:
    """Computes all tables of a split.

    Args:
      split: images and pairs.
      verifiers: `SYSTEM_2` and the controls, by name.
      weight: weight of G that `choose_weight` returns.
      instances: energies that `choose_weight` returned for this split; None to compute them.
      calibration: slopes and intercepts from another split; None to fit them on this one.

    Returns:
      Tables by name. Those of classes need labels.
    """
    system_2 = verifiers[SYSTEM_2]
    sides, own = _instance_sides(split)
    if instances is None:
        instances = sides.energies(system_2, 0, max(STEPS))
    scores = _shaped(_scores(sides, verifiers, weight, instances), own.shape)
    names = {'cosine': _CORE, 'system 2': SYSTEM_2}
    if calibration is None:
        calibration = {
            key: measure.logistic_calibration(scores[name], own) for key, name in names.items()
        }
    probability = {key: _sigmoid(scores[name], calibration[key]) for key, name in names.items()}
    offset = float(system_2.params['offset'][...])
    raw = _sigmoid(scores[SYSTEM_2], (1.0, offset))
    # The cosine of a pair that is as likely compatible as not.
    threshold = -calibration['cosine'][1] / calibration['cosine'][0]
    result = {
        'instance': measure.table(scores, own),
        'instance_by_steps': _by_steps(instances, own, weight),
        'calibration_error': {
            key: measure.calibration_error(p, own) for key, p in probability.items()
        }
        | {'system 2, not calibrated': measure.calibration_error(raw, own)},
        'calibration': calibration,
        'undecided_cosine': threshold,
        'weight_of_G': weight,
        'anchors': len(split.pairs.anchors),
        'pairs': split.pairs.partners.size,
    }
    if split.labels is not None:
        result |= _classes(split, split.labels, verifiers, weight, calibration, threshold)
    return result


def _classes(
    split: PairSplit,
    labels: Int[np.ndarray, ' n'],
    verifiers: dict[str, Fitted],
    weight: float,
    calibration: dict[str, tuple[float, float]],
    threshold: float,
) -> dict:
    """The tables in which a pair of one class counts as compatible."""
    pairs = split.pairs
    same = labels[pairs.anchors][:, None] == labels[pairs.partners]
    if same.all() or not same.any():
        return {}
    sides = _class_sides(split, pairs.partners)
    energies = sides.energies(verifiers[SYSTEM_2], 0, max(STEPS))
    unit = np.asarray(split.bank.clean.unit)
    scores = _scores(sides, verifiers, weight, energies)
    scores['k-reciprocal'] = k_reciprocal(unit, sides.i, sides.j)
    scores = _shaped(scores, same.shape)
    first, second = (
        _sigmoid(scores[name], calibration[key])
        for key, name in (('cosine', _CORE), ('system 2', SYSTEM_2))
    )
    cosine = scores[_CORE]
    return {
        'same_class_share': float(same.mean()),
        'class': measure.table(scores, same),
        'class_by_steps': _by_steps(energies, same, weight),
        'by_margin': measure.gain_by_margin(scores[SYSTEM_2], cosine, same, threshold),
        'by_fraction': measure.gain_by_fraction(second, first, cosine, same, threshold),
        'recall_at_1': _recall(split, labels, verifiers, weight, unit),
    }


def _recall(
    split: PairSplit,
    labels: Int[np.ndarray, ' n'],
    verifiers: dict[str, Fitted],
    weight: float,
    unit: Float[np.ndarray, 'n k'],
) -> dict[str, float]:
    """Share of anchors whose best of the nearest neighbours has their class, by score."""
    nearest = nearest_pairs(unit, split.pairs.anchors, _NEAREST)
    same = labels[nearest.anchors][:, None] == labels[nearest.partners]
    sides = _class_sides(split, nearest.partners)
    energies = sides.energies(verifiers[SYSTEM_2], 0, _USED)
    scores = _scores(sides, verifiers, weight, energies)
    scores['k-reciprocal'] = k_reciprocal(unit, sides.i, sides.j)
    return measure.recall_at_1(_shaped(scores, same.shape), same)


def _shaped(scores: dict[str, np.ndarray], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.asarray(score, np.float64).reshape(shape) for name, score in scores.items()}


def _sigmoid(scores: Float[np.ndarray, 'm s'], line: tuple[float, float]) -> np.ndarray:
    slope, intercept = line
    return expit(slope * scores + intercept)
