import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.graph import scores, subsets
from tests.graph import references


def clusters(n, k=6, seed=0, classes=3, noise=0.3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return rng.normal(size=(classes, k))[labels] + noise * rng.normal(size=(n, k)), labels


class TestSas:
    def test_is_one_minus_the_mean_contribution(self):
        features, partition = clusters(30)
        score = scores.sas_score(features, partition)
        for name in np.unique(partition):
            members = partition == name
            expected = 1 - references.contributions(features[members]).mean(axis=1)
            np.testing.assert_allclose(score[members], expected, atol=1e-12)

    def test_removes_first_what_sas_keeps_last(self):
        features, _ = clusters(40)
        one_class = np.zeros(40, int)
        np.testing.assert_array_equal(
            subsets.most_difficult_removed(scores.sas_score(features, one_class), 0.25),
            subsets.sas(features, one_class, 0.75),
        )

    def test_alone_in_its_class_or_a_copy(self):
        features = np.repeat(clusters(50)[0], 2, axis=0)
        for partition in (np.arange(100), np.arange(100) // 2):
            score = scores.sas_score(features, partition)
            np.testing.assert_allclose(score, 0, atol=1e-15)
            assert (score >= 0).all()

    @pytest.mark.usefixtures('unchecked_types')
    def test_partition_of_another_length(self):
        with pytest.raises(ValueError, match=r'partition of shape \(3,\).*need \(4,\)'):
            scores.sas_score(np.eye(4), np.zeros(3, int))


class TestSupervisedMargin:
    def test_is_the_margin_of_left_out_means(self):
        features, labels = clusters(25, noise=1.0)
        found = scores.supervised_margin(features, labels)
        centred = features - features.mean(axis=0)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        for i in range(25):
            cosine = {}
            for name in range(3):
                mean = unit[(labels == name) & (np.arange(25) != i)].mean(axis=0)
                cosine[name] = unit[i] @ mean / np.linalg.norm(mean)
            own = cosine.pop(labels[i])
            np.testing.assert_allclose(found[i], max(cosine.values()) - own, atol=1e-12)

    def test_mislabelled_samples_score_highest(self):
        features, labels = clusters(200)
        wrong = labels.copy()
        wrong[:10] = (labels[:10] + 1) % 3
        score = scores.supervised_margin(features, wrong)
        assert score[:10].min() > 0 > score[10:].max()

    def test_single_sample_of_a_class(self):
        features = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        score = scores.supervised_margin(features, np.array([0, 1, 1]))
        # No mean to its own class, and opposite to the other: -1 - 0.
        np.testing.assert_allclose(score, [-1, -2, -2], atol=1e-12)

    def test_constant_features(self):
        score = scores.supervised_margin(np.ones((4, 2)), np.array([0, 0, 1, 1]))
        np.testing.assert_array_equal(score, np.zeros(4))

    def test_many_classes_take_a_block_of_cosines(self, monkeypatch):
        features, labels = clusters(1000, classes=500)
        expected = scores.supervised_margin(features, labels)
        monkeypatch.setattr(scores, '_MARGIN_COSINES', 9000)
        tracemalloc.start()
        found = scores.supervised_margin(features, labels)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        np.testing.assert_allclose(found, expected, atol=1e-12)
        # All cosines at once are 4 MB.
        assert peak < 1e6

    @pytest.mark.usefixtures('unchecked_types')
    def test_errors(self):
        with pytest.raises(ValueError, match=r'labels: all are 5'):
            scores.supervised_margin(np.eye(3), np.full(3, 5))
        with pytest.raises(ValueError, match=r'labels of shape \(2,\)'):
            scores.supervised_margin(np.eye(3), np.array([0, 1]))
        with pytest.raises(ValueError, match=r'row 0 holds only zeros'):
            scores.supervised_margin(np.diag([0.0, 1.0]), np.array([0, 1]))


class TestRandom:
    def test_depends_on_the_seed_alone(self):
        score = scores.random(1000, seed=2)
        np.testing.assert_array_equal(score, scores.random(1000, seed=2))
        assert (score != scores.random(1000, seed=3)).all()
        assert 0 <= score.min() < 0.02 < 0.98 < score.max() < 1

    def test_no_samples(self):
        with pytest.raises(ValueError, match='n=0'):
            scores.random(0, seed=0)


class TestLatentClasses:
    def test_finds_clear_clusters(self):
        features, labels = clusters(120, noise=0.05)
        # Lengths tell nothing about a class.
        features = features * np.random.default_rng(1).uniform(0.1, 10, size=(120, 1))
        found = scores.latent_classes(features.astype(np.float32), 3, seed=0)
        assert len(set(zip(labels.tolist(), found.tolist(), strict=True))) == 3
        np.testing.assert_array_equal(found, scores.latent_classes(features, 3, seed=0))

    def test_the_seed_chooses_the_first_means(self):
        features = np.random.default_rng(0).normal(size=(200, 5))
        one, other = (scores.latent_classes(features, 6, seed=seed) for seed in (0, 1))
        assert (one != other).any()

    def test_takes_arrays_of_a_device_and_serves_as_a_partition(self):
        features = jnp.asarray(clusters(30)[0], jnp.float32)
        partition = scores.latent_classes(features, 3, seed=0)
        assert len(subsets.sas(features, partition, 0.5)) > 10

    def test_one_sample_and_copies(self):
        np.testing.assert_array_equal(scores.latent_classes(np.ones((1, 2)), 1, seed=0), [0])
        assert scores.latent_classes(np.ones((5, 2)), 1, seed=0).shape == (5,)

    @pytest.mark.parametrize('num_classes', [0, 4])
    def test_number_of_classes(self, num_classes):
        with pytest.raises(ValueError, match=f'num_classes={num_classes}: need 1 to 3'):
            scores.latent_classes(np.eye(3), num_classes, seed=0)
