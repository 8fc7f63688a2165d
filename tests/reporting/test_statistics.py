import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from contrastive_jax.reporting import statistics


def test_summary_of_numbers_known_by_hand():
    found = statistics.summarise([1.0, 2.0, 6.0])
    assert found == (3, pytest.approx(math.sqrt(7)), 3)
    assert statistics.summarise([4.0]) == (4, None, 1)
    assert statistics.summarise([]) is None


def test_a_paired_difference_is_that_of_the_t_test():
    rng = np.random.default_rng(0)
    ours, base = rng.normal(size=(2, 7))
    found = statistics.paired(dict(enumerate(ours)), dict(enumerate(base)))
    expected = ttest_rel(ours, base).confidence_interval(0.95)
    assert found.n == 7
    np.testing.assert_allclose(found.mean, (ours - base).mean())
    np.testing.assert_allclose(found.interval, (expected.low, expected.high))


def test_a_paired_difference_by_hand():
    # Differences 1 and 3: mean 2, standard error 1, and t of one degree of freedom is 12.7062.
    found = statistics.paired({0: 2.0, 1: 4.0, 5: 9.0}, {0: 1.0, 1: 1.0, 7: 0.0})
    assert (found.mean, found.n) == (2, 2)
    np.testing.assert_allclose(found.interval, (2 - 12.7062, 2 + 12.7062), atol=1e-4)


def test_one_pair_has_no_interval_and_none_no_difference():
    assert statistics.paired({0: 2.0, 1: 3.0}, {1: 1.0}) == (2, None, 1)
    assert statistics.paired({0: 2.0}, {1: 1.0}) is None
    assert statistics.paired({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).interval == (1, 1)
