import numpy as np
import pytest

from contrastive_jax.evaluation import blocks, by_group, linear, probe
from contrastive_jax.evaluation.blocks import lay_out
from contrastive_jax.evaluation.validation import hold_out
from contrastive_jax.evaluation.whitening import second_moment, standardise, whitening_matrix
from tests.helpers import labelled_rows, small_config
from tests.marks import in_ci


def test_the_accuracy_is_the_mean_over_the_classes_by_their_size():
    (train, test) = labelled_rows(0, 90), labelled_rows(1, 60)
    found = probe(train, test, num_classes=4, options=small_config().probe)
    sizes = np.bincount(test[1], minlength=4)
    assert found.by_class[3] is None
    mean = np.average(found.by_class[:3], weights=sizes[:3])
    assert found.linear == pytest.approx(mean)
    assert 0.7 < found.linear <= 1


def test_the_strength_is_the_one_that_held_out_samples_prefer():
    (features, labels), test = labelled_rows(0, 90), labelled_rows(1, 60)
    found = probe((features, labels), test, num_classes=4, options=small_config().probe)
    x, _ = standardise(features, test[0])
    kept, checked = hold_out(labels, 0.1)
    (laid_out,) = lay_out([(x[kept], labels[kept])], 4)
    moment = np.asarray(second_moment([laid_out]))
    whitenings = {l2: whitening_matrix(moment, l2, 4) for l2 in linear.STRENGTHS}
    held_out = x[checked], labels[checked]
    hits, _ = linear.try_strengths([laid_out], whitenings, held_out, num_classes=4)
    assert found.l2 == linear.STRENGTHS[int(np.argmax(hits.sum(axis=1)))]


def test_groups_are_thirds_by_the_images_trained_on():
    by_class = (0.1, 0.2, 0.3, None, 0.5, 0.6)
    found = by_group(by_class, np.array([5, 50, 500, 6, 60, 600]))
    assert found['many'] == pytest.approx((0.6 + 0.3) / 2)
    assert found['medium'] == pytest.approx((0.5 + 0.2) / 2)
    assert found['few'] == pytest.approx(0.1)
    assert found['balanced'] == pytest.approx(np.mean([0.1, 0.2, 0.3, 0.5, 0.6]))
    assert by_group((None, 0.5), np.array([1, 2]))['medium'] is None


def test_one_program_chooses_the_strength_and_makes_the_last_fit(compiled):
    # No other test has so many samples.
    probe(labelled_rows(0, 87), labelled_rows(1, 60), num_classes=3, options=small_config().probe)
    # The other is of the draws of few labels.
    assert compiled['fit'] == 2


def test_the_last_fit_is_that_of_all_training_samples():
    labels = np.arange(90, dtype=np.int32) % 2
    _, held_out = hold_out(labels, 0.1)
    axis = labels.copy()
    # The held-out samples, and those of the test split, lie on axes of their own.
    axis[held_out] += 2
    train, test = (np.eye(4, dtype=np.float32)[x] for x in (axis, 2 + labels[:60]))
    options = small_config().probe
    assert probe((train, labels), (test, labels[:60]), num_classes=3, options=options).linear == 1


def test_few_labels_go_with_their_own_features():
    train, test = (
        (np.eye(4, dtype=np.float32)[y], y) for _, y in (labelled_rows(0, 90), labelled_rows(1, 60))
    )
    measured = probe(train, test, num_classes=3, options=small_config(probe__draws=1).probe)
    assert measured.few_label == 1


@pytest.mark.parametrize('draws', [1, *in_ci(2)])
def test_a_single_draw_of_few_labels_has_no_deviation(draws):
    config = small_config(probe__draws=draws).probe
    found = probe(labelled_rows(0, 90), labelled_rows(1, 60), num_classes=3, options=config)
    assert (found.few_label_std is None) == (draws == 1)


def test_the_deviation_is_that_of_a_sample_of_draws(monkeypatch):
    monkeypatch.setattr(linear, 'few_label_accuracies', lambda *_, **__: np.array([0.5, 0.7]))
    options = small_config().probe
    measured = probe(labelled_rows(0, 90), labelled_rows(1, 60), num_classes=3, options=options)
    assert measured.few_label_std == pytest.approx(np.sqrt(0.02))


@pytest.mark.ci
@pytest.mark.parametrize(('images', 'spread'), [(90, 0), (3, 1 << 30)])
def test_devices_and_single_samples_are_probed_alike(monkeypatch, images, spread):
    train, test = labelled_rows(0, images), labelled_rows(1, 60)
    if images == 3:
        # One sample a class: none can be held out. Classes 1 and 3 of five are absent.
        train = (train[0], np.array([0, 2, 4], np.int32))
        test = (test[0], 2 * test[1])
    options = small_config(probe__labels_per_class=1).probe
    found = [probe(train, test, num_classes=5, options=options, validate=True)]
    monkeypatch.setattr(blocks, '_SPREAD_BYTES', spread)
    monkeypatch.setattr(blocks, '_BLOCK_LOGITS', 50)
    found.append(probe(train, test, num_classes=5, options=options, validate=True))
    assert found[0].l2 == found[1].l2
    assert (found[0].validation is None) == (images == 3)
    assert (found[0].knn, found[0].knn20) == (found[1].knn, found[1].knn20)
    # A sample between two classes may go to either.
    assert found[0].linear == pytest.approx(found[1].linear, abs=1.01 / 60)
    assert found[0].few_label == pytest.approx(found[1].few_label, abs=1.01 / 60)
