"""The paper's similarity graph of three values: its parameters and its matrix.

This room works on the host, in NumPy float64: the eigenvalues are of order 1/n and their
differences of order 1/n^2. Float32, the default of JAX, does not resolve such differences.

Axes: s = (r + 1) n samples, class after class, the n_d difficult ones of each class first.
Letters: r + 1 classes, n samples a class, n_d of them difficult, n_e = n - n_d easy.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key

__all__ = ['SimilarityModel', 'Structure', 'adjacency', 'difficult_mask', 'normalised']

# Which difficult samples of different classes have similarity gamma. In 'block' all of them do. In
# 'matched' the i-th of a class has it with the i-th of each other class alone. The text of the
# paper fits 'block' in some places and 'matched' in others.
Structure = Literal['block', 'matched']


@dataclasses.dataclass(frozen=True)
class SimilarityModel:
    """Sizes and similarities of the graph.

    A sample has similarity 1 with itself, `alpha` with its class, `gamma` with the difficult
    partners of a difficult sample in other classes, `beta` with all others.

    Attributes:
      num_classes: `r + 1`, at least 2.
      samples_per_class: `n`, at least 1.
      difficult_per_class: `n_d`, 0 to n.
      alpha: in (gamma, 1).
      beta: in [0, gamma).
      gamma: in (beta, alpha).

    Raises:
      ValueError: a value outside its range.

    Source: Section 3.1.
    """

    num_classes: int
    samples_per_class: int
    difficult_per_class: int
    alpha: float
    beta: float
    gamma: float

    def __post_init__(self):
        """Refuses values that the theory does not cover."""
        n = self.samples_per_class
        integers = {'num_classes': (2, np.inf), 'samples_per_class': (1, np.inf)}
        for name, (low, high) in (integers | {'difficult_per_class': (0, n)}).items():
            value = getattr(self, name)
            if value % 1 or not low <= value <= high:
                raise ValueError(f'{name}={value}: must be a whole number from {low} to {high}')
            # Products of NumPy's short integers would wrap.
            object.__setattr__(self, name, int(value))
        if not 0 < self.alpha < 1:
            raise ValueError(f'alpha={self.alpha}: must lie in (0, 1)')
        if not 0 < self.gamma < self.alpha:
            raise ValueError(f'gamma={self.gamma}: must lie in (0, alpha), alpha={self.alpha}')
        if not 0 <= self.beta < self.gamma:
            raise ValueError(f'beta={self.beta}: must lie in [0, gamma), gamma={self.gamma}')
        for name in ('alpha', 'beta', 'gamma'):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def other_classes(self) -> int:
        """Number `r` of other classes."""
        return self.num_classes - 1

    @property
    def easy_per_class(self) -> int:
        """Number `n_e = n - n_d` of easy samples in a class."""
        return self.samples_per_class - self.difficult_per_class

    @property
    def easy_degree(self) -> float:
        """Row sum of an easy sample, `c2 = (1 - alpha) + n (alpha + r beta)`."""
        reach = self.alpha + self.other_classes * self.beta
        return 1 - self.alpha + self.samples_per_class * reach

    def partners(self, structure: Structure) -> int:
        """Number `h` of difficult partners of a difficult sample in one other class.

        Raises:
          ValueError: an unknown structure.
        """
        if structure not in ('block', 'matched'):
            raise ValueError(f"structure={structure!r}: must be 'block' or 'matched'")
        return self.difficult_per_class if structure == 'block' else 1

    def difficult_degree(self, structure: Structure) -> float:
        """Row sum of a difficult sample, `c2 + h r (gamma - beta)`; this is `c1` for 'block'.

        Raises:
          ValueError: an unknown structure.
        """
        extra = self.partners(structure) * self.other_classes * (self.gamma - self.beta)
        return self.easy_degree + extra

    def without_difficult(self) -> 'SimilarityModel':
        """The model with the same samples, all of them easy."""
        return dataclasses.replace(self, difficult_per_class=0)

    def removed(self, count: int) -> 'SimilarityModel':
        """The model without `count` samples of each class, 0 to n - 1; difficult ones go first.

        Raises:
          ValueError: nothing would be left.
        """
        return dataclasses.replace(
            self,
            samples_per_class=self.samples_per_class - count,
            difficult_per_class=max(self.difficult_per_class - count, 0),
        )


def difficult_mask(model: SimilarityModel, structure: Structure) -> Bool[np.ndarray, 's s']:
    """Marks the pairs of similarity gamma.

    Returns:
      `[s, s]` bool, symmetric.

    Raises:
      ValueError: an unknown structure.
    """
    model.partners(structure)  # refuses an unknown structure
    label, number = np.divmod(
        np.arange(model.num_classes * model.samples_per_class), model.samples_per_class
    )
    difficult = number < model.difficult_per_class
    mask = (label[:, None] != label) & difficult[:, None] & difficult
    return mask if structure == 'block' else mask & (number[:, None] == number)


def adjacency(
    model: SimilarityModel,
    structure: Structure,
    *,
    noise: float = 0.0,
    key: Key[Array, ''] | None = None,
) -> Float[np.ndarray, 's s']:
    """Similarity matrix `A`, or its noisy relaxation `A + eps E`.

    `E` is symmetric. Its entries on and above the diagonal are independent and standard normal.

    Args:
      model: sizes and similarities.
      structure: 'block' or 'matched'.
      noise: standard deviation `eps >= 0` of the noise.
      key: random key of the noise; None without noise.

    Returns:
      `[s, s]` float64, symmetric.

    Raises:
      ValueError: an unknown structure, a negative noise, or noise without a key.

    Source: Section 3.1 and Appendix B.3.
    """
    if not noise >= 0 or (noise and key is None):
        raise ValueError(f'noise={noise}, key={key}: noise must be at least 0, and needs a key')
    label = np.repeat(np.arange(model.num_classes), model.samples_per_class)
    similarity = np.where(label[:, None] == label, model.alpha, model.beta)
    similarity[difficult_mask(model, structure)] = model.gamma
    np.fill_diagonal(similarity, 1.0)
    # Noise without a key has been refused above.
    if not noise or key is None:
        return similarity
    upper = np.triu(np.asarray(jax.random.normal(key, similarity.shape), np.float64))
    return similarity + noise * (upper + np.triu(upper, 1).T)


def normalised(similarity: Float[np.ndarray, 's s']) -> Float[np.ndarray, 's s']:
    """Normalises a matrix to `D^{-1/2} A D^{-1/2}`, where D holds the row sums.

    Args:
      similarity: `[s, s]` symmetric matrix A.

    Returns:
      `[s, s]` symmetric; its greatest eigenvalue is 1 where no entry of A is negative.

    Raises:
      ValueError: a row sum that is not above 0.

    Source: Section 3.1.
    """
    degree = similarity.sum(axis=1)
    if not np.all(degree > 0):
        raise ValueError(f'smallest row sum {degree.min()}: all must be above 0; take less noise')
    scale = 1 / np.sqrt(degree)
    return scale[:, None] * similarity * scale
