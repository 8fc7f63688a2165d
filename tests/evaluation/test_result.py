import jax
import numpy as np

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.evaluation import calibrated, result
from contrastive_jax.evaluation.probing import Accuracies
from contrastive_jax.evaluation.validation import Validation
from contrastive_jax.models import Moments
from contrastive_jax.training.loop import Pretrained
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.task import task_of
from tests.helpers import random_batch, small_config


def test_pixels_that_take_more_memory_than_is_free_are_not_probed(monkeypatch, capsys, tmp_path):
    setup = set_up(small_config(), Moments((0.5,) * 3, (0.25,) * 3), 10)
    train, test = (Split(*random_batch(seed, 20)) for seed in (0, 1))
    dataset = Dataset(train, test, ('a', 'b', 'c', 'd'), train)
    pretrained = Pretrained(setup.graphdef, setup.initial, setup.initial, None)
    monkeypatch.setattr(result, 'encoder_function', lambda *_: lambda images: images[:, 0, 0])
    monkeypatch.setattr(
        result, 'probe', lambda *_, **__: Accuracies(1.0, 1.0, None, 1.0, 1.0, 1e-4, (), None)
    )
    # Of 20 images and 20 others, 40 bytes a number, and for a square matrix of 20 x 20 as many.
    needed = 40 * 40 * train.images[0].size + 40 * 20**2
    for free, probed in ((needed - 1, False), (needed, True)):
        monkeypatch.setattr(result.memory, 'on_host', lambda free=free: free)
        found = result.probe_all(small_config(), dataset, pretrained)
        assert ('raw_pixel' in found) == probed
        assert ('raw pixels are not probed: 20 images' in capsys.readouterr().out) != probed
        assert {'', 'random_encoder'} <= set(found)
    # What another run of the grid has measured needs no memory.
    result.probe_all(small_config(), dataset, pretrained, tmp_path)
    monkeypatch.setattr(result.memory, 'on_host', lambda: 0)
    found = result.probe_all(small_config(), dataset, pretrained, tmp_path)
    assert 'raw_pixel' in found


def test_the_untrained_encoder_has_the_first_weights_and_the_trained_one_the_last(monkeypatch):
    config = small_config()
    setup = set_up(config, Moments((0.5,) * 3, (0.25,) * 3), 10)
    initial = setup.initial
    # As if training had changed every weight.
    params, stats = jax.tree.map(lambda leaf: leaf + 3, (initial.params, initial.stats))
    final = initial._replace(params=params, stats=stats)
    train, test = (Split(*random_batch(seed, 20)) for seed in (0, 1))
    dataset = Dataset(train, test, ('a', 'b', 'c', 'd'), train)
    encoders = []

    def encoder_function(graphdef, *weights):
        number = len(encoders)
        encoders.append(weights)
        # Its features say which one it is.
        return lambda images: np.full((len(images), 1), number)

    def probe(train, test, **_):
        first, second = float(train[0][0, 0]), float(test[0][0, 0])
        return Accuracies(first, second, None, 0.2, 0.3, 1e-4, (0.5,), None)

    monkeypatch.setattr(result, 'encoder_function', encoder_function)
    monkeypatch.setattr(result, 'probe', probe)
    pretrained = Pretrained(setup.graphdef, initial, final, None)
    accuracies = result.probe_all(config, dataset, pretrained)
    untrained, trained = (accuracies[name] for name in ('random_encoder', ''))
    first = calibrated(setup.graphdef, initial.params, initial.stats, train.images)
    for probed, weights in ((untrained, first), (trained, (params, stats))):
        # One encoder for both splits.
        assert probed.linear == probed.few_label
        jax.tree.map(np.testing.assert_array_equal, encoders[int(probed.linear)], weights)


def _result_of(accuracies):
    """The result of a run on one, two and four images of three classes of six, five and four."""
    config = small_config(batch_size=2)
    setup = set_up(config, Moments((0.5,) * 3, (0.25,) * 3), 10)
    labels = np.repeat(np.arange(3, dtype=np.int32), (6, 5, 4))
    train = Split(random_batch(0, 15).images, labels)
    none = np.zeros(0, np.int64)
    construction = Construction(train, np.array([0, 6, 7, 11, 12, 13, 14]), none, none)
    return result.make_result(
        config,
        task_of(config),
        Dataset(train, train, ('a', 'b', 'c'), train),
        construction,
        Pretrained(setup.graphdef, setup.initial, setup.initial, None),
        {'': accuracies},
        0.0,
    )


def test_each_accuracy_has_its_own_name():
    validation = Validation(0.6, 0.7, 0.8, 0.9)
    content = _result_of(Accuracies(0.1, 0.2, 0.3, 0.4, 0.5, 1e-3, (None,) * 3, validation))
    names = ('linear_accuracy', 'few_label_accuracy', 'knn_accuracy', 'knn20_accuracy')
    assert [content[name] for name in names] == [0.1, 0.2, 0.4, 0.5]
    names = ('accuracy', 'few_label_accuracy', 'knn_accuracy', 'knn20_accuracy')
    assert [content[f'validation_{name}'] for name in names] == [0.6, 0.7, 0.8, 0.9]


def test_classes_are_many_or_few_by_the_images_that_were_trained_on():
    by_class = (0.1, 0.2, 0.3)
    content = _result_of(Accuracies(0.2, 0.2, None, 0.2, 0.2, 1e-3, by_class, None))
    groups = [content[f'linear_accuracy_{name}'] for name in ('many', 'medium', 'few')]
    assert groups == [0.3, 0.2, 0.1]
