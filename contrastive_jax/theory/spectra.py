"""Exact eigenvalues of the normalised graph, plain and treated.

The graph does not change if its classes are permuted, or the easy or the difficult samples within
all classes at once. These symmetries split it into blocks of size one and two. So every eigenvalue
has a closed form, and a model of any size costs the same; `docs/theory.md` derives the forms.

Axes: g groups of equal eigenvalues, s samples.
Letters: r + 1 classes, n samples a class, n_d of them difficult, n_e easy, h partners (`model.py`).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Key

from contrastive_jax.theory.model import (
    SimilarityModel,
    Structure,
    adjacency,
    difficult_mask,
    normalised,
)

__all__ = [
    'Spectrum',
    'optimal_margin',
    'optimal_temperature',
    'spectrum',
    'treated_adjacency',
    'treated_spectrum',
]


class Spectrum(NamedTuple):
    """Distinct eigenvalues in descending order, and how often each occurs.

    Attributes:
      values: `[g]` float64, strictly descending.
      multiplicities: `[g]` counts, whose sum is the number of samples.
    """

    values: Float[np.ndarray, ' g']
    multiplicities: Int[np.ndarray, ' g']

    def eigenvalue(self, index: int) -> float:
        """The eigenvalue at an index from 1, in descending order; 0 past the last one.

        Raises:
          ValueError: an index below 1.
        """
        if index < 1:
            raise ValueError(f'index={index}: must be at least 1')
        group = np.searchsorted(np.cumsum(self.multiplicities), index)
        return float(self.values[group]) if group < len(self.values) else 0.0

    def expanded(self) -> Float[np.ndarray, ' s']:
        """All eigenvalues in descending order, each as often as it occurs."""
        return np.repeat(self.values, self.multiplicities)


def spectrum(
    model: SimilarityModel,
    structure: Structure,
    *,
    noise: float = 0.0,
    key: Key[Array, ''] | None = None,
) -> Spectrum:
    """Eigenvalues of `D^{-1/2} A D^{-1/2}`.

    They have closed forms without noise. With noise `eigvalsh` computes them from the matrix.

    Args:
      model: sizes and similarities.
      structure: 'block' or 'matched'.
      noise: `eps >= 0` of the relaxation `A + eps E`.
      key: random key of the noise; None without noise.

    Returns:
      The eigenvalues with their multiplicities; the first is 1, unless noise makes entries of the
      matrix negative, which may raise it.

    Raises:
      ValueError: an unknown structure, noise without a key, or noise that makes a row sum negative.

    Source: Section 3.2 and Appendix B.3.
    """
    if not noise:
        return treated_spectrum(model, structure)
    values = np.linalg.eigvalsh(normalised(adjacency(model, structure, noise=noise, key=key)))
    return _grouped(values, np.ones(len(values)))


def _check_treatment(margin: float, temperature: float) -> None:
    for name, value in (('margin', margin), ('temperature', temperature)):
        if not 0 <= value < math.inf:
            raise ValueError(f'{name}={value}: must be from 0 up, and finite')


def treated_spectrum(
    model: SimilarityModel,
    structure: Structure,
    *,
    margin: float = 0.0,
    temperature: float = 1.0,
) -> Spectrum:
    """Eigenvalues of `T * Abar - Mbar`, the matrix that the treated spectral loss factorises.

    Pairs of similarity gamma have `T = temperature` and `Mbar_ij = margin sqrt(d_i d_j)`, where d
    are the row sums of A. All other pairs have T = 1 and Mbar = 0.

    Args:
      model: sizes and similarities.
      structure: 'block' or 'matched'.
      margin: number `m >= 0` that the loss adds to the inner product of two outputs.
      temperature: factor `tau >= 0` of the temperature of a pair.

    Returns:
      The eigenvalues with their multiplicities. `spectrum` of
      `model.removed(model.difficult_per_class)` gives those after removal.

    Raises:
      ValueError: another structure, or a margin or temperature that is negative or not finite.

    Source: Theorems 4.2 and 4.4.
    """
    _check_treatment(margin, temperature)
    r, n_e, n_d = model.other_classes, model.easy_per_class, model.difficult_per_class
    easy_degree, degree = model.easy_degree, model.difficult_degree(structure)
    rest = 1 - model.alpha
    # The entry of a treated pair, less that of an easy pair with the same two degrees.
    excess = (temperature * model.gamma - model.beta) / degree - margin * degree
    values, multiplicities = [], []
    # First vectors that are equal in all classes, then those that sum to zero over the classes.
    for mode, count in ((r, 1), (-1, r)):
        level = model.alpha + mode * model.beta
        easy = (rest + n_e * level) / easy_degree
        difficult = (rest + n_d * level) / degree
        difficult += mode * model.partners(structure) * excess
        mixed = level * math.sqrt(n_e * n_d / (easy_degree * degree))
        # Vectors that are constant on the easy and on the difficult samples, if there are both.
        if n_e and n_d:
            middle, spread = (easy + difficult) / 2, math.hypot((easy - difficult) / 2, mixed)
            values += [middle + spread, middle - spread]
        else:
            values += [difficult if n_d else easy] * 2
        multiplicities += [count, count if n_e and n_d else 0]
        # Vectors that sum to zero over the easy samples of a class, and over its difficult samples.
        values += [rest / easy_degree]
        values += [rest / degree + (mode * excess if structure == 'matched' else 0.0)]
        multiplicities += [count * max(n_e - 1, 0), count * max(n_d - 1, 0)]
    return _grouped(np.array(values), np.array(multiplicities))


def _grouped(values, multiplicities) -> Spectrum:
    """Sorts descending and joins equal values."""
    present = multiplicities > 0
    distinct, group = np.unique(values[present], return_inverse=True)
    total = np.bincount(group, weights=multiplicities[present]).astype(np.int64)
    return Spectrum(distinct[::-1], total[::-1])


def treated_adjacency(
    model: SimilarityModel,
    structure: Structure,
    *,
    margin: float = 0.0,
    temperature: float = 1.0,
) -> Float[np.ndarray, 's s']:
    """The matrix `T * Abar - Mbar` of `treated_spectrum`, with the same arguments.

    Args:
      model: sizes and similarities.
      structure: 'block' or 'matched'.
      margin: number `m >= 0` that the loss adds to the inner product of two outputs.
      temperature: factor `tau >= 0` of the temperature of a pair.

    Returns:
      `[s, s]` symmetric, whose eigenvalues `treated_spectrum` gives in closed form.

    Raises:
      ValueError: another structure, or a margin or temperature that is negative or not finite.

    Source: Theorems 4.2 and 4.4.
    """
    _check_treatment(margin, temperature)
    similarity = adjacency(model, structure)
    pairs = difficult_mask(model, structure)
    degree = similarity.sum(axis=1)
    margins = np.where(pairs, margin * np.sqrt(degree[:, None] * degree), 0.0)
    return np.where(pairs, temperature, 1.0) * normalised(similarity) - margins


def optimal_margin(model: SimilarityModel, structure: Structure = 'block') -> float:
    """Margin that gives a difficult pair the entry of an easy pair in a graph of easy samples.

    `m = c0 (gamma - beta) / (c1^2 c2)`, with c1 the degree of a difficult sample and
    `c0 = c2 - h r beta`; for 'block' these are the paper's. Then `gamma/c1 - m c1 = beta/c2`.

    Args:
      model: sizes and similarities.
      structure: 'block', as printed, or 'matched'.

    Returns:
      `m > 0`, in the units of a loss whose weights are the row sums of A, not divided by their sum.

    Raises:
      ValueError: another structure.

    Source: Theorem 4.3.
    """
    degree = model.difficult_degree(structure)
    easy = model.easy_degree - model.partners(structure) * model.other_classes * model.beta
    return easy * (model.gamma - model.beta) / (degree**2 * model.easy_degree)


def optimal_temperature(model: SimilarityModel, structure: Structure = 'block') -> float:
    """Temperature that gives a difficult pair the entry of an easy pair in a graph of easy samples.

    `tau = (c1 / c2) (beta / gamma)`, with c1 the degree of a difficult sample, for 'block' the
    paper's. Then `tau gamma/c1 = beta/c2`.

    Args:
      model: sizes and similarities.
      structure: 'block', as printed, or 'matched'.

    Returns:
      `tau > 0`; or 0 for beta = 0, a limit that no temperature reaches.

    Raises:
      ValueError: another structure.

    Source: Theorem 4.5.
    """
    return model.difficult_degree(structure) / model.easy_degree * model.beta / model.gamma
