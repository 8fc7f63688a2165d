import time

import numpy as np
import pytest

from contrastive_jax.data.batches import (
    epoch_order,
    make_batch,
    padded_batches,
    prefetch,
    step_indices,
)
from contrastive_jax.data.sources import Split


def test_an_epoch_shows_every_image_once():
    seen = np.concatenate([step_indices(3, step, 12, 4) for step in range(3)])
    assert sorted(seen) == list(range(12))


def test_what_does_not_fill_a_batch_is_left_out_and_differs_by_epoch():
    left_out = [
        set(range(10)) - {int(i) for step in steps for i in step_indices(0, step, 10, 4)}
        for steps in ((0, 1), (2, 3), (4, 5), (6, 7))
    ]
    assert all(len(images) == 2 for images in left_out)
    assert len({frozenset(images) for images in left_out}) > 1


def test_order_depends_on_seed_and_epoch_alone():
    np.testing.assert_array_equal(epoch_order(1, 2, 50), epoch_order(1, 2, 50))
    assert (epoch_order(1, 2, 50) != epoch_order(1, 3, 50)).any()
    assert (epoch_order(1, 2, 50) != epoch_order(2, 2, 50)).any()


def test_batches_are_device_major():
    split = Split(np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1), np.arange(8, dtype=np.int32))
    batch = make_batch(split, np.array([5, 2, 7, 0]), devices=2)
    assert batch.images.shape == (2, 2, 1, 1, 1)
    np.testing.assert_array_equal(batch.labels, [[5, 2], [7, 0]])
    assert make_batch(Split(split.images, None), np.arange(4), 2).labels is None


@pytest.mark.parametrize('n', [1, 4, 5, 8])
def test_the_last_batch_is_padded_not_dropped(n):
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    batches = list(padded_batches(images, 4))
    assert all(part.shape == (4, 1, 1, 1) for part, _ in batches)
    real = np.concatenate([part[:count] for part, count in batches])
    np.testing.assert_array_equal(real, images)


def test_prefetch_keeps_the_order():
    assert list(prefetch(range(20), lambda item: item + 1)) == list(range(1, 21))


def test_prefetch_hands_an_error_over():
    def items():
        yield 1
        raise OSError('disk gone')

    ahead = prefetch(items(), lambda item: item)
    assert next(ahead) == 1
    with pytest.raises(OSError, match='disk gone'):
        next(ahead)


def test_prefetch_prepares_no_more_than_it_was_told():
    made = []

    def items():
        for item in range(100):
            made.append(item)
            yield item

    ahead = prefetch(items(), lambda item: item, depth=2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    # One taken, two kept ready, one in the hands of the thread.
    assert len(made) == 4
    ahead.close()
