"""Axes: l looks, n samples."""

import numpy as np
import pytest

from contrastive_jax.graph.dynamics import NEVER, hardest, sample_dynamics

EPOCHS = np.array([2, 4, 6, 8])


def _score(hard_at):
    """Ten samples at four looks; of each look the two named samples are the hardest."""
    score = np.tile(np.linspace(0, 0.45, 10), (4, 1))
    for look, samples in enumerate(hard_at):
        score[look, list(samples)] = 0.9
    return score


def test_mean_and_spread_are_those_over_the_looks():
    score = np.random.default_rng(0).random((4, 10)).astype(np.float32)
    found = sample_dynamics(score, EPOCHS)
    np.testing.assert_allclose(found.mean, score.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.spread, score.std(axis=0), rtol=1e-5)


def test_entries_and_what_remains_after_leaving_for_good():
    # 0 is always hard; 1 leaves after the first look; 2 enters at the second and leaves; 3 enters,
    # leaves and enters again, the last time at the last look.
    score = _score([(0, 1), (0, 2), (0, 3), (0, 3)])
    score[1, 3] = 0.9
    found = sample_dynamics(score, EPOCHS)
    assert found.last_entry[:5].tolist() == [2, 2, 4, 4, NEVER]
    assert found.learnability[:5].tolist() == [0, 0.75, 0.5, 0, 1]
    again = sample_dynamics(_score([(0, 3), (0, 1), (0, 1), (0, 3)]), EPOCHS)
    assert again.last_entry[3] == 8
    assert again.learnability[3] == 0


def test_a_fifth_is_rounded_up_and_equal_scores_belong_to_it():
    assert hardest(np.arange(11.0)).sum() == 3
    assert hardest(np.array([0.0, 1, 1, 1, 0])).tolist() == [False, True, True, True, False]
    assert hardest(np.ones(1)).all()


@pytest.mark.parametrize(
    ('epochs', 'value', 'message'),
    [([], 0.5, 'at least one'), ([3, 2], 0.5, 'ascending'), ([1, 2], np.nan, 'epoch 1')],
)
def test_what_has_no_order_or_value_is_refused(epochs, value, message):
    score = np.full((len(epochs), 3), value)
    with pytest.raises(ValueError, match=message):
        sample_dynamics(score, np.array(epochs, np.int64))


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize('shape', [(3, 5), (1, 5), (2,)])
def test_scores_of_other_looks_are_refused(shape):
    with pytest.raises(ValueError, match='need a row of scores for each epoch'):
        sample_dynamics(np.ones(shape), np.array([1, 3]))
