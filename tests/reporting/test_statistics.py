import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from contrastive_jax.reporting import statistics
from tests.reporting.runs import cells_of, fake_result, write_run


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
    np.testing.assert_allclose(found.p, ttest_rel(ours, base).pvalue)


def test_a_paired_difference_by_hand():
    # Differences 1, 2, 3: standard error 1 / sqrt(3), and t of two degrees of freedom is 4.3027.
    found = statistics.paired({0: 2.0, 1: 3.0, 2: 4.0, 5: 9.0}, {0: 1.0, 1: 1.0, 2: 1.0, 7: 0.0})
    assert (found.mean, found.n) == (2, 3)
    np.testing.assert_allclose(found.interval, (2 - 2.4841, 2 + 2.4841), atol=1e-4)


def test_fewer_than_three_pairs_have_no_interval_and_none_no_difference():
    assert statistics.paired({0: 2.0, 1: 3.0}, {1: 1.0}) == (2, None, 1, None)
    assert statistics.paired({0: 2.0, 1: 4.0}, {0: 1.0, 1: 1.0}) == (2, None, 2, None)
    assert statistics.paired({0: 2.0}, {1: 1.0}) is None


def test_holm_by_hand():
    # 3 * 0.01; 2 * 0.03; and 1 * 0.04, but no less than the one before.
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert statistics.holm([0.6, 0.5]) == [1, 1]
    assert statistics.holm([0.02]) == [0.02]
    assert statistics.holm([]) == []


@pytest.mark.parametrize('resolution', [0.0, 0.1])
def test_equal_differences_have_no_interval(resolution):
    # 0.1 in decimals; in floats the differences are not equal.
    base = {0: 0.7, 1: 0.8, 2: 0.2}
    better = {0: 0.8, 1: 0.9, 2: 0.3}
    assert len({better[seed] - base[seed] for seed in base}) > 1
    found = statistics.paired(better, base, resolution)
    assert (found.interval, found.n) == (None, 3)
    assert found.mean == pytest.approx(0.1)


def test_an_interval_is_not_shorter_than_the_resolution_of_an_accuracy_allows():
    # Of 30 test images, all pairs but one differ by two.
    base = dict.fromkeys(range(20), 0.5)
    better = {seed: 0.5 + (3 if seed == 7 else 2) / 30 for seed in base}
    known = statistics.paired(better, base, 1 / 30)
    unknown = statistics.paired(better, base)
    deviation = math.sqrt(1 / 20) / 30
    error = math.sqrt((deviation**2 + (1 / 30) ** 2 / 6) / 20)
    reach = 2.0930 * error
    ends = (known.mean - reach, known.mean + reach)
    np.testing.assert_allclose(known.interval, ends, rtol=1e-4)
    assert np.ptp(known.interval) > 2 * np.ptp(unknown.interval)


def test_an_interval_of_rounded_accuracies_covers_the_difference():
    """In units of one test image: seeds that differ by less are rounded alike."""
    rng = np.random.default_rng(0)
    covered = {0.0: [], 1.0: []}
    for _ in range(600):
        level, difference = rng.uniform(50, 51), rng.uniform()
        base = np.round(rng.normal(level, 0.2, size=10))
        ours = np.round(rng.normal(level + difference, 0.2, size=10))
        for resolution, results in covered.items():
            found = statistics.paired(dict(enumerate(ours)), dict(enumerate(base)), resolution)
            if found.interval is not None:
                low, high = found.interval
                results.append(low <= difference <= high)
    assert np.mean(covered[0.0]) < 0.9
    assert np.mean(covered[1.0]) > 0.94


def test_the_resolution_is_that_of_the_fewest_test_images(tmp_path):
    def resolution(folder, *counts):
        for seed, count in enumerate(counts):
            known = {} if count is None else {'test_images': count}
            write_run(folder / str(seed), seed, result=fake_result(0.5, seed, **known))
        write_run(folder / 'stopped', len(counts), result=False)
        return statistics.accuracy_resolution(cells_of(folder))

    assert resolution(tmp_path / 'known', 50, 40) == 1 / 40
    assert resolution(tmp_path / 'one unknown', 50, None) == 0
    assert resolution(tmp_path / 'none') == 0
