"""Features for the benchmarks of the graph, and the product that is the least they can cost.

Axes: n samples, k features.
"""

import jax
import numpy as np
from jax import lax

from contrastive_jax.numerics import cosines, map_anchors

__all__ = ['bare_product', 'centres', 'overlapping']


def centres(rng: np.random.Generator, k: int) -> np.ndarray:
    """Centres of ten classes, `[10, k]` float32."""
    return rng.normal(size=(10, k)).astype(np.float32)


def overlapping(rng: np.random.Generator, n: int, centres: np.ndarray) -> np.ndarray:
    """Rows of classes that overlap, `[n, k]` float32."""
    rows = rng.standard_normal((n, centres.shape[1]), np.float32)
    rows *= 1.5
    rows += centres[rng.integers(len(centres), size=n)]
    return rows


@jax.jit
def bare_product(anchors, rows):
    """`anchors @ rows.T` block by block, of which one number a row is looked at."""

    def row(anchor):
        # Without the barrier only the one number would be computed.
        return lax.optimization_barrier(cosines(rows, anchor))[0]

    return map_anchors(row, anchors, len(rows))
