import ast
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

from contrastive_jax.data.batches import step_indices
from contrastive_jax.data.mixed import mix
from contrastive_jax.ebt.quality import _over_batches
from contrastive_jax.graph import scores, subsets
from contrastive_jax.randomness import KeyTag, KeyUse, Use, device_key, host_rng, legacy_rng
from contrastive_jax.training.task import StepContext
from tests.helpers import small_config, state_and_step

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2, 13, 2**31 - 1, 2**32, 2**32 + 1)


def test_no_two_streams_of_the_host_begin_alike():
    counters = [(), (0,), (1,), (2,), (13,), (2**32 - 1,), (0, 0), (1, 0), (0, 1), (13, 1)]
    streams = list(itertools.product(Use, SEEDS, counters))
    prefixes = {tuple(host_rng(use, seed, *c).integers(2**63, size=4)) for use, seed, c in streams}
    assert len(prefixes) == len(streams)
    orders = {tuple(host_rng(use, seed, *c).permutation(50)) for use, seed, c in streams}
    assert len(orders) == len(streams)


def test_a_stream_is_that_of_its_arguments():
    one, other = (host_rng(Use.EPOCH_ORDER, 3, 1).random(5) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    one, other = (legacy_rng(Use.LATENT_CLASSES, 3).random_sample(5) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('epoch', [0, 1, 2, 3])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_what_is_drawn_once_is_spread_evenly_over_the_steps_of_every_epoch(seed, epoch):
    n, batch = 20_000, 512
    images, labels = np.zeros((n, 1, 1, 1), np.uint8), np.arange(n) % 10
    chosen = {
        'mixed': mix(images, labels, ratio=0.1, seed=seed).indices,
        'removed': np.setdiff1d(np.arange(n), subsets.random_subset(n, 0.1, seed)),
        'scored': np.argsort(scores.random(n, seed))[: n // 10],
    }
    steps = range(epoch * (n // batch), (epoch + 1) * (n // batch))
    order = np.stack([step_indices(seed, step, n, batch) for step in steps])
    for name, indices in chosen.items():
        counts = np.isin(order, indices).sum(axis=1)
        # Drawn without replacement, 51.2 of a batch with a standard deviation of 6.7.
        assert np.all(np.abs(counts - 51.2) < 5 * 6.7), name


def test_no_two_uses_share_a_key():
    keys = []
    for seed in (0, 1, 2**31 - 1):
        keys += [device_key(use, seed) for use in KeyUse]
        # Parameters of a model: a key for each of its layers.
        model = device_key(KeyUse.MODEL, seed)
        keys += [jax.random.fold_in(model, layer) for layer in range(8)]
        run = device_key(KeyUse.RUN, seed)
        keys.append(jax.random.fold_in(run, KeyTag.QUEUE))
        for step in (0, 1, 2, 100):
            context = StepContext(jax.random.fold_in(run, step), 0, None, step)
            keys.append(context.key)
            keys += [jax.random.fold_in(context.key, tag) for tag in KeyTag if tag != KeyTag.QUEUE]
            for image in context.keys(8):
                # Of both views, or of the five draws of a denoiser.
                keys += [image, *(jax.random.fold_in(image, use) for use in range(5))]
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}
    assert len(data) == len(keys)


def test_a_run_does_not_draw_with_the_key_of_its_weights():
    initial, _ = state_and_step(small_config(seed=5), mapped=False)
    assert initial.key == device_key(KeyUse.RUN, 5)


def test_tags_are_above_all_counters():
    # Images of a batch and steps of a run stay far below.
    assert min(KeyTag) > 2**31 - 1000
    assert len({int(tag) for tag in KeyTag}) == len(KeyTag.__members__)
    assert len({int(use) for use in KeyUse}) == len(KeyUse.__members__)
    assert len({int(use) for use in Use}) == len(Use.__members__)


def test_first_guesses_differ_between_batches():
    def guess(images, key):
        return jax.random.normal(key, images.shape)[None]

    found = _over_batches(guess, np.zeros((600, 1, 1, 1), np.float32), jax.random.key(0))
    assert found.shape == (1, 600, 1, 1, 1)
    assert len(np.unique(found)) == 600


def _draws(path):
    """Where a file makes random streams by itself."""
    name, found = str(path.relative_to(ROOT)), []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, 'module', None)]
            if {'random', 'numpy.random', 'jax.random'} & set(modules):
                found.append(f'{name}:{node.lineno} import')
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            allowed = text == 'np.random.Generator'
            if text.startswith(('np.random.', 'numpy.random.')) and not allowed:
                found.append(f'{name}:{node.lineno} {text}')
            if text in ('jax.random.key', 'jax.random.PRNGKey'):
                found.append(f'{name}:{node.lineno} {text}')
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                ours = ast.unparse(keyword.value).startswith('legacy_rng(')
                if keyword.arg == 'random_state' and not ours:
                    found.append(f'{name}:{node.lineno} random_state')
    return found


def test_streams_are_made_in_one_file():
    files = [
        path
        for folder in ('contrastive_jax', 'benchmarks', 'studies', 'launch', 'configs')
        for path in (ROOT / folder).rglob('*.py')
        if path.name != 'randomness.py'
    ]
    assert len(files) > 100
    assert [draw for path in files for draw in _draws(path)] == []


def test_a_stream_made_elsewhere_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), 'ROOT', tmp_path)
    path = tmp_path / 'file.py'
    path.write_text(
        'import random\n'
        'rng = np.random.default_rng(0)\n'
        'np.random.shuffle(x)\n'
        'KMeans(3, random_state=0)\n'
        'key = jax.random.key(0)\n'
        'def draw(rng: np.random.Generator): pass\n'
    )
    assert sorted({draw.split()[0] for draw in _draws(path)}) == [
        f'file.py:{line}' for line in (1, 2, 3, 4, 5)
    ]


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize('seed', [-1, 1.5, None])
def test_a_seed_is_a_whole_number_from_0_up(seed):
    with pytest.raises(ValueError, match=rf'seed={seed}: must be a whole number from 0 up'):
        host_rng(Use.BOOTSTRAP, seed)
