import numpy as np
import pytest

from contrastive_jax.data.tails import long_tail

LABELS = np.arange(1000) % 10


@pytest.mark.parametrize('factor', [1.0, 10.0, 100.0])
def test_sizes_fall_off_exponentially(factor):
    kept = long_tail(LABELS, factor=factor, seed=0)
    assert np.all(np.diff(kept) > 0)
    sizes = sorted(np.bincount(LABELS[kept], minlength=10).tolist(), reverse=True)
    exact = [100 * factor ** (-k / 9) for k in range(10)]
    assert sizes == [int(size + 1e-9) for size in exact]
    assert sizes[-1] == 100 / factor


def test_the_seed_chooses_classes_and_images():
    again, *kept = (long_tail(LABELS, factor=10.0, seed=seed) for seed in (0, *range(5)))
    np.testing.assert_array_equal(again, kept[0])
    largest = {int(np.argmax(np.bincount(LABELS[indices]))) for indices in kept}
    assert len(largest) > 1


def test_a_smaller_factor_keeps_more_of_the_same():
    assert np.isin(
        long_tail(LABELS, factor=50.0, seed=3), long_tail(LABELS, factor=5.0, seed=3)
    ).all()


def test_no_class_vanishes():
    labels = np.repeat([0, 1, 2], [1, 2, 3])
    assert set(labels[long_tail(labels, factor=100.0, seed=0)]) == {0, 1, 2}
    np.testing.assert_array_equal(long_tail(np.zeros(5, int), factor=9.0, seed=0), np.arange(5))
