"""Arrays as strange as users can make them. Axes: n rows, k columns."""

import numpy as np
from hypothesis import strategies as st

BAD = (np.nan, np.inf, -np.inf)


@st.composite
def matrices(draw, n: int, k: int, *, zeros: bool):
    """`[n, k]` float32, finite: of any scale from 1e-20 to 1e20, with ties, copies, zero rows."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(['normal', 'signs', 'few values', 'one direction', 'sparse']))
    rows = {
        'normal': lambda: random.normal(size=(n, k)),
        'signs': lambda: random.choice([-1.0, 1.0], (n, k)),
        'few values': lambda: random.integers(1, 4, (n, k)),
        'one direction': lambda: np.ones((n, k)) + 1e-6 * random.normal(size=(n, k)),
        'sparse': lambda: np.eye(k)[random.integers(k, size=n)],
    }[kind]()
    if draw(st.booleans()):
        rows = rows[random.integers(n, size=n)]
    exponent = st.integers(-20, 20)
    if draw(st.booleans()):
        rows = rows * 10.0 ** draw(exponent)
    else:
        rows = rows * 10.0 ** np.array(draw(st.lists(exponent, min_size=n, max_size=n)))[:, None]
    if zeros and draw(st.booleans()):
        rows[random.integers(n)] = 0
    return rows.astype(np.float32)


@st.composite
def spoiled(draw, n: int, k: int):
    """`[n, k]` float32 with at least one entry that is no number."""
    rows = draw(matrices(n, k, zeros=True))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, n - 1)), draw(st.integers(0, k - 1))
        rows[place] = draw(st.sampled_from(BAD))
    return rows
