"""Features that the tests of scoring share."""

import numpy as np

from contrastive_jax.evaluation.tiles.request import COLUMNS, Request

N, K = 211, 6
_RNG = np.random.default_rng(0)
LABELS = _RNG.integers(5, size=N)
FEATURES = (_RNG.normal(size=(5, K))[LABELS] + _RNG.normal(size=(N, K))).astype(np.float32)
ALL = Request(columns=COLUMNS)
