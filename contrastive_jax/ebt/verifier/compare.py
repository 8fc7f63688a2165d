"""System 2 beside System 1 and every control, on the pairs of the band.

Axes: n images, m anchors, s partners of each, p = m s pairs.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from contrastive_jax.data.sampling import representative
from contrastive_jax.ebt.verifier import measure
from contrastive_jax.ebt.verifier.encoding import Bank
from contrastive_jax.ebt.verifier.fit import Fitted
from contrastive_jax.ebt.verifier.infer import Energies, pair_energies
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.ebt.verifier.pairs import Pairs, band_pairs, nearest_pairs
from contrastive_jax.ebt.verifier.rerank import k_reciprocal

__all__ = ['STEPS', 'SYSTEM_2', 'Split', 'choose_weight', 'compare', 'make_split']

SYSTEM_2 = 'system 2'
STEPS = (0, 1, 2, 4, 8)
# Of thinking where scores are compared.
_USED = 2
_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# Neighbours that are ranked again.
_NEAREST = 10
_CORE = 'cosine'


class Split(NamedTuple):
    """Images that are compared, and some of them as anchors.

    Attributes:
      bank: of all of them.
      labels: `[n]`, or None.
      pairs: of the band of each anchor.
    """

    bank: Bank
    labels: Int[np.ndarray, ' n'] | None
    pairs: Pairs


class _Sides(NamedTuple):
    """Both images of some pairs, as they are seen at first and in each further view."""

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


def make_split(bank: Bank, labels, anchors: int, band: dict, count: int) -> Split:
    """Draws images as anchors, without their labels, and takes the pairs of their bands."""
    unit = np.asarray(bank.clean.unit)
    chosen = representative(len(unit), anchors)
    return Split(bank, labels, band_pairs(unit, chosen, **band, count=count))


def _class_sides(split: Split, partners: np.ndarray) -> _Sides:
    seen = [split.bank.clean, *split.bank.views]
    i = np.repeat(split.pairs.anchors, partners.shape[1])
    return _Sides(seen, seen, i, partners.ravel())


def _instance_sides(split: Split) -> tuple[_Sides, np.ndarray]:
    """Each anchor with its own augmentation and those of its band; which of them are its own."""
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


def choose_weight(split: Split, fitted: Fitted) -> tuple[float, Energies]:
    """The weight of G_K beside F that finds own augmentations best; no labels are looked at.

    Returns:
      The weight, and the energies of own augmentations and of those of the band.
    """
    sides, truth = _instance_sides(split)
    energies = sides.energies(fitted, 0, max(STEPS))
    aucs = [roc_auc_score(truth.ravel(), _weighted(energies, w, _USED)) for w in _WEIGHTS]
    return _WEIGHTS[int(np.argmax(aucs))], energies


def _scores(
    sides: _Sides, verifiers: dict[str, Fitted], weight: float, energies: Energies
) -> dict[str, np.ndarray]:
    """Every score of the pairs, high = compatible."""
    views = range(1, len(sides.first))
    found = {
        _CORE: sides.cosine(0),
        'cosine, mean of views': np.mean([sides.cosine(view) for view in views], axis=0),
    }
    for name, fitted in verifiers.items():
        if name != SYSTEM_2:
            found[name] = -sides.energies(fitted, 0).energy
    seen = [-sides.energies(verifiers[SYSTEM_2], view).energy for view in views]
    return found | {
        SYSTEM_2: -energies.energy,
        f'{SYSTEM_2}, with G of {_USED} steps': _weighted(energies, weight, _USED),
        f'{SYSTEM_2}, mean of views': np.mean(seen, axis=0),
        # Best of N: the view of the lowest energy.
        f'{SYSTEM_2}, lowest of views': np.max(seen, axis=0),
        f'G of {_USED} steps alone': -energies.gain[_USED],
        f'd of {_USED} steps alone': -energies.motion[_USED],
    }


def _by_steps(energies: Energies, truth: np.ndarray, weight: float) -> list[dict]:
    """AUC against steps of thinking: F with G (by 1 where its weight is 0), G and d alone."""
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


def compare(
    split: Split,
    verifiers: dict[str, Fitted],
    weight: float,
    instances: Energies | None,
    calibrating: dict | None,
) -> dict:
    """All tables of a split.

    Args:
      split: the images.
      verifiers: `SYSTEM_2` and the controls, by name.
      weight: of G beside F, of `choose_weight`.
      instances: energies that `choose_weight` returned of this split; None to compute them.
      calibrating: slopes and intercepts found on another split; None to find them on this one.

    Returns:
      Tables by name; those of classes where there are labels.
    """
    system_2 = verifiers[SYSTEM_2]
    sides, own = _instance_sides(split)
    if instances is None:
        instances = sides.energies(system_2, 0, max(STEPS))
    scores = _shaped(_scores(sides, verifiers, weight, instances), own.shape)
    names = {'cosine': _CORE, 'system 2': SYSTEM_2}
    if calibrating is None:
        calibrating = {key: measure.calibrated(scores[name], own) for key, name in names.items()}
    slopes = calibrating
    probability = {key: _sigmoid(scores[name], slopes[key]) for key, name in names.items()}
    offset = float(system_2.params['offset'][...])
    raw = _sigmoid(scores[SYSTEM_2], (1.0, offset))
    # The cosine of a pair that may be either.
    threshold = -slopes['cosine'][1] / slopes['cosine'][0]
    result = {
        'instance': measure.table(scores, own),
        'instance_by_steps': _by_steps(instances, own, weight),
        'calibration_error': {
            key: measure.calibration_error(p, own) for key, p in probability.items()
        }
        | {'system 2, not calibrated': measure.calibration_error(raw, own)},
        'calibration': calibrating,
        'undecided_cosine': threshold,
        'weight_of_G': weight,
        'anchors': len(split.pairs.anchors),
        'pairs': split.pairs.partners.size,
    }
    if split.labels is not None:
        result |= _classes(split, verifiers, weight, slopes, threshold)
    return result


def _classes(split, verifiers, weight, slopes, threshold) -> dict:
    """What needs labels: same class against another."""
    pairs, labels = split.pairs, split.labels
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
        _sigmoid(scores[name], slopes[key]) for key, name in (('cosine', _CORE), ('system 2',) * 2)
    )
    cosine = scores[_CORE]
    return {
        'same_class_share': float(same.mean()),
        'class': measure.table(scores, same),
        'class_by_steps': _by_steps(energies, same, weight),
        'by_margin': measure.gain_by_margin(scores[SYSTEM_2], cosine, same, threshold),
        'by_fraction': measure.gain_by_fraction(second, first, cosine, same, threshold),
        'recall_at_1': _recall(split, verifiers, weight, unit),
    }


def _recall(split, verifiers, weight, unit) -> dict:
    nearest = nearest_pairs(unit, split.pairs.anchors, _NEAREST)
    same = split.labels[nearest.anchors][:, None] == split.labels[nearest.partners]
    sides = _class_sides(split, nearest.partners)
    energies = sides.energies(verifiers[SYSTEM_2], 0, _USED)
    scores = _scores(sides, verifiers, weight, energies)
    scores['k-reciprocal'] = k_reciprocal(unit, sides.i, sides.j)
    return measure.recall_at_1(_shaped(scores, same.shape), same)


def _shaped(scores: dict[str, np.ndarray], shape) -> dict[str, np.ndarray]:
    return {name: np.asarray(score, np.float64).reshape(shape) for name, score in scores.items()}


def _sigmoid(scores: Float[np.ndarray, 'm s'], line) -> np.ndarray:
    slope, intercept = line
    return expit(slope * scores + intercept)
