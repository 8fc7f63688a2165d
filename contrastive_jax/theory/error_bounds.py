"""Every bound and condition of the paper, as printed and with the exact eigenvalue.

All bounds on the error of linear probing have the form `4 delta / (1 - lambda) + 8 delta`, where
delta is the labelling error. The paper prints a fraction in place of the eigenvalue `lambda_{k+1}`.

Letters: r + 1 classes, n samples a class, n_d of them difficult, n_e easy, k features.
"""

import math
from functools import partial
from typing import NamedTuple

from contrastive_jax.theory.model import SimilarityModel, Structure
from contrastive_jax.theory.spectra import (
    optimal_margin,
    optimal_temperature,
    spectrum,
    treated_spectrum,
)

__all__ = [
    'Bound',
    'Bounds',
    'Condition',
    'Conditions',
    'bounds',
    'conditions',
    'difficult_fraction',
    'easy_fraction',
    'error_bound',
]


class Bound(NamedTuple):
    """One bound on the error in three forms, each at least 0, or `inf` if it says nothing.

    Attributes:
      printed: the paper's closed form.
      block: `4 delta / (1 - lambda_{k+1}) + 8 delta` with the exact eigenvalue of 'block'.
      matched: the same for 'matched'.
    """

    printed: float
    block: float
    matched: float


class Bounds(NamedTuple):
    """The bounds of the paper.

    Attributes:
      without_difficult: Theorem 3.3, `E_wo`.
      with_difficult: Theorem 3.4, `E_wd`; stated for `r+1 <= k < n_d+r+1`.
      removed: Corollary 4.1, `E_R`.
      margin: Theorem 4.3, `E_M`, printed as equal to `E_wo`.
      temperature: Theorem 4.5, `E_T`. The printed form has a weight, because the loss is weighted.
        The exact forms compare eigenvalues alone and leave the weight out.
    """

    without_difficult: Bound
    with_difficult: Bound
    removed: Bound
    margin: Bound
    temperature: Bound


class Condition(NamedTuple):
    """A condition on the model: whether it holds, and the two sides of its inequality."""

    holds: bool
    value: float
    limit: float


class Conditions(NamedTuple):
    """The conditions of the paper.

    Attributes:
      in_range: whether Theorem 3.4 speaks about this k: `r+1 <= k < n_d+r+1`.
      removal_helps: printed `E_R < E_wd`; value `gamma - beta` above the limit.
      temperature_helps: printed `E_T < E_wd`; value `(n_d/n)^2 ((gamma/beta)^2 - 1)` below the
        limit.
      temperature_reach: `beta sqrt(n r / ((alpha + r beta) (beta + gamma)))`, the `n_d` below which
        `temperature_helps` holds, to leading order in 1/n.
    """

    in_range: bool
    removal_helps: Condition
    temperature_helps: Condition
    temperature_reach: float


def error_bound(labelling_error: float, eigenvalue: float, weight: float = 1.0) -> float:
    """Computes a bound, `4 weight delta / (1 - lambda) + 8 delta`.

    Args:
      labelling_error: share `delta` of wrong labels, in [0, 1].
      eigenvalue: `lambda_{k+1}`, at most 1.
      weight: factor of the first term, at least 1.

    Returns:
      A bound, at least 0. It is `inf` for eigenvalue 1 or an infinite weight, even for `delta = 0`,
      because the theorem then divides by zero and says nothing.

    Raises:
      ValueError: `labelling_error` outside [0, 1].

    Source: HaoChen et al. 2021, as the paper uses it.
    """
    if not 0 <= labelling_error <= 1:
        raise ValueError(f'labelling_error={labelling_error}: must lie in [0, 1]')
    # A square root gives an eigenvalue of 1 only up to rounding.
    if 1 - eigenvalue < 1e-14 or math.isinf(weight):
        return math.inf
    return 4 * weight * labelling_error / (1 - eigenvalue) + 8 * labelling_error


def bounds(model: SimilarityModel, labelling_error: float, feature_dim: int) -> Bounds:
    """Computes all bounds, printed and exact.

    With `a = 1 - alpha`, c1 and c2 the degrees of 'block', the printed fractions are
      without: `a/c2`; with: `(a + r (gamma-beta))/c1`; removed: `a/(a + n_e (alpha + r beta))`;
      margin: `a/c2`; temperature: `a/c2`, weight `1 + (n_d/n)^2 ((gamma/beta)^2 - 1)`.
    Without difficult samples (`n_d = 0`) all five are the first.

    Args:
      model: sizes and similarities.
      labelling_error: share `delta` of wrong labels, in [0, 1].
      feature_dim: number `k` of features, 1 to (r + 1) n - 1.

    Returns:
      The five bounds. A bound is `inf` if it says nothing: for an eigenvalue of 1 (fewer features
      than components of the graph), if removal leaves no sample (`n_d = n`), and, in the
      printed form, for the temperature with `beta = 0` and `n_d > 0`. If removal leaves at most k
      samples, the eigenvalue is 0.

    Raises:
      ValueError: a labelling error or feature dimension outside its range.

    Source: Theorems 3.3, 3.4, Corollary 4.1, Theorems 4.3, 4.5.
    """
    _check_feature_dim(model, feature_dim)

    def bound(fraction, spectrum_of, weight=1.0):
        exact = (
            error_bound(labelling_error, spectrum_of(structure).eigenvalue(feature_dim + 1))
            for structure in ('block', 'matched')
        )
        return Bound(error_bound(labelling_error, fraction, weight), *exact)

    def margined(structure: Structure):
        return treated_spectrum(model, structure, margin=optimal_margin(model, structure))

    def scaled(structure: Structure):
        return treated_spectrum(model, structure, temperature=optimal_temperature(model, structure))

    easy = model.without_difficult()
    no_pairs = easy_fraction(easy)
    if model.easy_per_class:
        left = model.removed(model.difficult_per_class)
        removed = bound(easy_fraction(left), partial(spectrum, left))
    else:
        removed = Bound(math.inf, math.inf, math.inf)
    return Bounds(
        without_difficult=bound(no_pairs, partial(spectrum, easy)),
        with_difficult=bound(difficult_fraction(model), partial(spectrum, model)),
        removed=removed,
        margin=bound(no_pairs, margined),
        temperature=bound(no_pairs, scaled, weight=1 + _extra_weight(model)),
    )


def _check_feature_dim(model: SimilarityModel, feature_dim: int) -> None:
    samples = model.num_classes * model.samples_per_class
    if not (1 <= feature_dim < samples and feature_dim == int(feature_dim)):
        raise ValueError(f'feature_dim={feature_dim}: must be from 1 to {samples - 1}, whole')


def conditions(model: SimilarityModel, feature_dim: int) -> Conditions:
    """Compares each remedy with keeping the difficult samples, by the printed bounds.

    Removal: `gamma - beta > n_d a (alpha + r gamma) / (r (a + n_e (alpha + r beta)))`.
    Temperature, with `l = alpha + r beta` and `x = r (gamma - beta)`; derived here, because the
    printed constant is not known to us:
      `(n_d/n)^2 ((gamma/beta)^2 - 1) < x (n l - (n_d-1) a) / (c2 (n l + (n_d-1) x))`.
    Each is equivalent to the comparison of the two printed bounds. Both are false for `n_d = 0`,
    because there is nothing to treat.

    Args:
      model: sizes and similarities.
      feature_dim: number `k` of features, 1 to (r + 1) n - 1.

    Returns:
      The conditions with both sides. The value of the temperature is `inf` for `beta = 0`.

    Raises:
      ValueError: a feature dimension outside its range.

    Source: Section 4; the second is derived in `docs/theory.md`.
    """
    _check_feature_dim(model, feature_dim)
    r, n, n_d = model.other_classes, model.samples_per_class, model.difficult_per_class
    alpha, beta, gamma = model.alpha, model.beta, model.gamma
    rest, level, extra = 1 - alpha, alpha + r * beta, r * (gamma - beta)
    limit = n_d * rest * (alpha + r * gamma) / (r * (rest + model.easy_per_class * level))
    removal = Condition(bool(n_d) and gamma - beta > limit, gamma - beta, limit)

    gain = extra * (n * level - (n_d - 1) * rest)
    limit = gain / (model.easy_degree * (n * level + (n_d - 1) * extra))
    price = _extra_weight(model)
    temperature = Condition(bool(n_d) and price < limit, price, limit)
    reach = beta * math.sqrt(n * r / (level * (beta + gamma)))
    return Conditions(r + 1 <= feature_dim < n_d + r + 1, removal, temperature, reach)


def easy_fraction(model: SimilarityModel) -> float:
    """The fraction `a/c2` that Theorem 3.3 prints for `lambda_{k+1}`."""
    return (1 - model.alpha) / model.easy_degree


def difficult_fraction(model: SimilarityModel) -> float:
    """The fraction `(a + r (gamma - beta))/c1` of Theorem 3.4; `a/c2` for `n_d = 0`."""
    if not model.difficult_per_class:
        return easy_fraction(model)
    extra = model.other_classes * (model.gamma - model.beta)
    return (1 - model.alpha + extra) / model.difficult_degree('block')


def _extra_weight(model: SimilarityModel) -> float:
    """The weight of Theorem 4.5 less 1, `(n_d/n)^2 ((gamma/beta)^2 - 1)`."""
    if not model.difficult_per_class:
        return 0.0
    if model.beta == 0:
        return math.inf
    share = model.difficult_per_class / model.samples_per_class
    return share**2 * ((model.gamma / model.beta) ** 2 - 1)
