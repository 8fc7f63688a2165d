import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastive_jax.graph.scores import boundary
from contrastive_jax.graph.subsets import most_difficult_removed, random_subset, sas
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.theory import estimate
from tests.graph import references


def released(similarity, count):
    """Samples by (row sum, index), descending."""
    sums = [row.sum() for row in similarity]
    return sorted(range(len(sums)), key=lambda i: (sums[i], i), reverse=True)[:count]


class TestMostDifficultRemoved:
    def test_by_hand(self):
        kept = most_difficult_removed(np.array([0.3, 0.9, 0.1, 0.5, 0.7]), 0.4)
        np.testing.assert_array_equal(kept, [0, 2, 3])

    def test_of_equal_scores_the_larger_index_goes_first(self):
        score = np.array([0.5, 0.9, 0.5, 0.1, 0.5], np.float32)
        np.testing.assert_array_equal(most_difficult_removed(score, 0.4), [0, 2, 3])
        np.testing.assert_array_equal(most_difficult_removed(np.zeros(5), 0.6), [0, 1])

    def test_of_many_equal_scores_the_larger_indices_go_first(self):
        # NumPy sorts a few numbers stably whatever it is asked for.
        kept = most_difficult_removed(np.zeros(1000), 0.5)
        np.testing.assert_array_equal(kept, np.arange(500))
        kept = most_difficult_removed(np.arange(1000.0) % 2, 0.75)
        np.testing.assert_array_equal(kept, np.arange(0, 500, 2))

    @pytest.mark.parametrize(
        ('n', 'ratio', 'removed'),
        [(100, 0.29, 29), (100, 0.07, 7), (10, 0.99, 9), (7, 0.5, 3), (1, 0.9, 0), (5, 0.0, 0)],
    )
    def test_count_is_the_floor_of_the_decimal(self, n, ratio, removed):
        assert len(most_difficult_removed(np.zeros(n), ratio)) == n - removed
        assert len(random_subset(n, ratio, seed=0)) == n - removed

    @given(
        st.lists(st.integers(0, 5), min_size=1, max_size=30),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
    )
    def test_larger_ratios_remove_the_same_and_more(self, score, one, other):
        score = np.array(score, float)
        few, many = (
            set(most_difficult_removed(score, ratio).tolist())
            for ratio in sorted([one, other], reverse=True)
        )
        assert few <= many
        removed = set(range(len(score))) - many
        assert all(score[i] >= score[j] for i in removed for j in many)

    @pytest.mark.parametrize('ratio', [-0.1, 1.0, 20.0, float('nan')])
    def test_ratio(self, ratio):
        with pytest.raises(ValueError, match=rf'ratio={ratio}: need \[0, 1\)'):
            most_difficult_removed(np.zeros(5), ratio)
        with pytest.raises(ValueError, match=rf'ratio={ratio}: need \[0, 1\)'):
            random_subset(5, ratio, seed=0)

    def test_nan(self):
        with pytest.raises(ValueError, match='sample 2 has NaN'):
            most_difficult_removed(np.array([0, 1, np.nan]), 0.1)

    def test_no_samples(self):
        with pytest.raises(ValueError, match='n=0'):
            most_difficult_removed(np.zeros(0), 0.1)


@pytest.mark.parametrize(
    'select',
    [
        lambda masked: most_difficult_removed(masked[:, 0], 0.5),
        lambda masked: sas(masked, np.arange(4), 1.0),
        lambda masked: sas(np.ones((4, 2)), masked[:, 0].astype(int), 1.0),
        lambda masked: boundary(masked[:, 0], np.ones(4)),
        lambda masked: estimate(masked, pos_high=0.1, pos_low=0.5),
        lambda masked: estimate(
            np.ones((4, 2)), masked[:, 0].astype(int), pos_high=0.1, pos_low=0.5
        ),
    ],
)
def test_what_is_masked_does_not_count_as_a_value(select):
    with pytest.raises(ValueError, match='a masked array, whose masked values would count'):
        select(np.ma.masked_equal(np.ones((4, 2)), 1))


class TestRandomSubset:
    def test_depends_on_the_seed_alone(self):
        kept = random_subset(1000, 0.4, seed=3)
        np.testing.assert_array_equal(kept, random_subset(1000, 0.4, seed=3))
        np.testing.assert_array_equal(kept, np.unique(kept))
        # 600 of 1,000 twice: independent ones share 360, with a standard deviation of 7.6.
        assert abs(len(np.intersect1d(kept, random_subset(1000, 0.4, seed=4))) - 360) < 40

    def test_draws_from_its_own_stream(self):
        order = host_rng(Use.RANDOM_SUBSET, 3).permutation(100)
        np.testing.assert_array_equal(random_subset(100, 0.4, seed=3), np.sort(order[:60]))

    def test_larger_ratios_remove_the_same_and_more(self):
        assert set(random_subset(50, 0.5, seed=1)) < set(random_subset(50, 0.2, seed=1))


class TestSas:
    def test_released_by_hand(self):
        # Rows of D in the first class: (1, .6, 0), (.6, 1, .8), (0, .8, 1): sums 1.6, 2.4, 1.8.
        features = np.array([[1, 0], [-1, -1], [0.6, 0.8], [0, 1], [-1, -1]])
        partition = np.array([7, 2, 7, 7, 2])
        np.testing.assert_array_equal(sas(features, partition, 0.7), [2, 3, 4])

    def test_graph_cut_by_hand(self):
        # Two copies on one axis, three on another: sums 2, 2, 3, 3, 3. Once one of the three is
        # taken the others fall to 1, and one of the two is next.
        features = np.repeat(np.eye(2), [2, 3], axis=0)
        partition = np.zeros(5, int)
        np.testing.assert_array_equal(sas(features, partition, 0.4, 'graph_cut'), [1, 4])
        np.testing.assert_array_equal(sas(features, partition, 0.4, 'released'), [3, 4])

    @pytest.mark.parametrize('seed', range(4))
    @pytest.mark.parametrize('objective', ['released', 'graph_cut'])
    @pytest.mark.parametrize('fraction', [0.2, 0.55, 0.8, 1.0])
    def test_is_the_lazy_greedy(self, seed, objective, fraction):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(40, 5))
        partition = rng.integers(3, size=40)
        expected = []
        for name in np.unique(partition):
            members = np.flatnonzero(partition == name)
            similarity = references.contributions(features[members])
            count = int(fraction * len(members))
            chosen = references.lazy_greedy(similarity, count, objective)
            if objective == 'released':
                assert chosen == released(similarity, count)
            expected.extend(members[chosen])
        np.testing.assert_array_equal(
            sas(features, partition, fraction, objective), sorted(expected)
        )

    def test_the_fraction_is_the_decimal_that_was_written(self):
        features = np.random.default_rng(0).normal(size=(100, 3))
        # In floating point, 0.29 of 100 is less than 29, and so is 1 - 0.71.
        for fraction in (0.29, 1 - 0.71):
            assert len(sas(features, np.zeros(100, int), fraction)) == 29

    @pytest.mark.parametrize('dtype', [np.float16, np.float32])
    def test_half_precision_is_checked_without_a_warning(self, dtype):
        features = np.random.default_rng(0).normal(size=(8, 3)).astype(dtype)
        assert len(sas(features, np.zeros(8, int), 0.5)) == 4

    @pytest.mark.parametrize('objective', ['released', 'graph_cut'])
    def test_of_equal_values_the_larger_index_is_kept(self, objective):
        # Directions at right angles, whose sums are exact, each twice.
        features = np.concatenate([np.eye(4), np.eye(4)])
        kept = sas(features, np.zeros(8, int), 0.5, objective)
        np.testing.assert_array_equal(kept, [4, 5, 6, 7])
        similarity = references.contributions(features)
        np.testing.assert_array_equal(
            sorted(references.lazy_greedy(similarity, 4, objective)), kept
        )

    def test_objectives_differ_on_isotropic_data(self):
        features = np.random.default_rng(0).normal(size=(1000, 32))
        both = [sas(features, np.zeros(1000, int), 0.2, o) for o in ('released', 'graph_cut')]
        assert len(np.intersect1d(*both)) < 0.6 * 200

    @pytest.mark.parametrize('objective', ['released', 'graph_cut'])
    def test_scale_of_features_and_names_of_classes(self, objective):
        rng = np.random.default_rng(0)
        features, partition = rng.normal(size=(30, 4)), rng.integers(3, size=30)
        kept = sas(features, partition, 0.4, objective)
        scale = np.exp2(rng.integers(-20, 20, size=(30, 1)))
        np.testing.assert_array_equal(sas(features * scale, 5 - partition, 0.4, objective), kept)

    @pytest.mark.parametrize('fraction', [0.0, -0.5, 1.5, float('nan')])
    def test_fraction(self, fraction):
        with pytest.raises(ValueError, match=rf'fraction={fraction}: need \(0, 1\]'):
            sas(np.eye(3), np.zeros(3, int), fraction)

    def test_nothing_kept(self):
        with pytest.raises(ValueError, match=r'fraction=0.4: keeps no sample.*largest has 2'):
            sas(np.eye(3), np.array([0, 0, 1]), 0.4)

    @pytest.mark.usefixtures('unchecked_types')
    def test_objective(self):
        with pytest.raises(ValueError, match=r"objective='cut': need one of \['graph_cut', 'rel"):
            sas(np.eye(3), np.zeros(3, int), 0.5, 'cut')

    @pytest.mark.usefixtures('unchecked_types')
    def test_bad_features_and_partitions(self):
        with pytest.raises(ValueError, match=r'partition of shape \(2,\)'):
            sas(np.eye(3), np.zeros(2, int), 0.5)
        with pytest.raises(ValueError, match='row 1 holds only zeros'):
            sas(np.diag([1.0, 0.0, 1.0]), np.zeros(3, int), 0.5)
        with pytest.raises(ValueError, match='row 2 holds NaN'):
            sas(np.diag([1.0, 1.0, np.nan]), np.zeros(3, int), 0.5)
