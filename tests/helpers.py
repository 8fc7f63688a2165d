"""What tests of several rooms build on: a small data set, a small config, a state and its step."""

import contextlib
import itertools

import jax
import numpy as np
from PIL import Image

from contrastive_jax import config as base
from contrastive_jax.data.batches import Batch
from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.sources import Split
from contrastive_jax.models import Moments
from contrastive_jax.runs.images import measure_image_facts, write_image_facts
from contrastive_jax.runs.names import ENCODER
from contrastive_jax.runs.weights import read_weights, save_encoder
from contrastive_jax.training.devices import AXIS, map_over_devices, replicate
from contrastive_jax.training.setup import set_up


def small_config(**changes):
    """A config whose every part is small; `changes` are paths with `__` for the dot."""
    config = base.default()
    config.epochs = 2
    config.batch_size = 16
    config.model.name = 'conv'
    config.model.width = 4
    config.model.projector_width = 16
    config.model.projector_dim = 8
    config.optimizer.name = 'sgd'
    config.optimizer.warmup_epochs = 0
    # A flip is enough to draw from the step's key; all the rest costs compilation.
    config.augment.update(crop=False, jitter=0.0, greyscale=0.0, blur=0.0)
    config.probe.labels_per_class = 2
    config.probe.draws = 2
    config.update_from_flattened_dict(
        {path.replace('__', '.'): value for path, value in changes.items()}
    )
    base.validate(config)
    return config


def random_batch(seed: int, images: int, channels: int = 3, size: int = 8) -> Batch:
    """Images of noise, of four classes."""
    rng = np.random.default_rng(seed)
    shape = (images, size, size, channels)
    return Batch(
        rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 4, images, dtype=np.int32)
    )


def state_and_step(config, channels: int = 3, *, mapped: bool):
    """The first state, and the step bound to everything that is static, before any mapping."""
    moments = Moments((0.5,) * channels, (0.25,) * channels)
    setup = set_up(config, moments, 10, AXIS if mapped else None)
    return setup.initial, setup.step


def split_over(devices: int, batch: Batch) -> Batch:
    """Gives the arrays of a batch their leading device axis."""
    return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)


def train_steps(config, devices: int, steps: int = 3):
    """State and metrics after a few steps, on all of some devices at once or unmapped."""
    batches = [random_batch(seed, config.batch_size) for seed in range(steps)]
    state, step = state_and_step(config, mapped=devices > 1)
    if devices == 1:
        step = jax.jit(step)
    else:
        state, step = replicate(state), map_over_devices(step)
        batches = [split_over(devices, batch) for batch in batches]
    history = []
    for batch in batches:
        state, metrics = step(state, batch)
        history.append(jax.device_get(metrics))
    return jax.device_get(state), history


@contextlib.contextmanager
def taken_away(monkeypatch, name: str, after: int):
    """Makes a function that the training loop calls fail after so many calls."""
    # Imported here, because config files of tests import this module.
    from contrastive_jax.training import loop

    function, calls = getattr(loop, name), itertools.count()

    def failing(*arguments):
        if next(calls) >= after:
            raise RuntimeError('the machine was taken away')
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, name, failing)
        yield


def labelled_rows(seed: int, n: int, noise: float = 1.0):
    """Features `[n, 4]` of three classes, which overlap where there is much noise, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)
    return (4 * np.eye(4)[labels] + noise * rng.normal(size=(n, 4))).astype(np.float32), labels


def write_npz(path, *, train: int = 40, test: int = 12, labels: bool = True, seed: int = 0):
    """Writes images of two classes that differ in brightness."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, count in (('train', train), ('test', test)):
        classes = np.arange(count) % 2
        noise = rng.integers(0, 128, (count, 8, 8, 1), dtype=np.uint8)
        arrays[f'{name}_images'] = noise + (100 * classes[:, None, None, None]).astype(np.uint8)
        if labels:
            arrays[f'{name}_labels'] = classes
    np.savez(path, **arrays)
    return path


def npz_changes(folder, **options):
    """Writes images into a folder that has none yet; the changes of `small_config` for them."""
    path = folder / 'data.npz'
    if not path.exists():
        write_npz(path, **options)
    return {'data__name': 'npz', 'data__data_dir': str(path)}


def write_config(path, **changes):
    """Writes a config file with `changes` of `small_config`; returns its path."""
    path.write_text(
        'from tests.helpers import small_config\n\n\n'
        f'def get_config():\n    return small_config(**{changes!r})\n'
    )
    return path


def streamed_config(folder):
    """Writes images that a worker process reads; the changes of `small_config` for them."""
    rng = np.random.default_rng(0)
    for split, count in (('train', 64), ('test', 8)):
        for label in ('dark', 'light'):
            where = folder / split / label
            where.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 128, (10, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels + 100 * (label == 'light')).save(where / f'{index}.png')
    return {
        'data__name': 'folder',
        'data__data_dir': str(folder),
        'data__image_size': 8,
        'data__stream': True,
        'data__workers': 1,
        'augment__crop': True,
        'batch_size': 16,
        'epochs': 25,
    }


def portable_run(workdir, config, *, shape=(8, 8, 3), step: int = 7, seed: int = 0):
    """Writes the `encoder.safetensors` of a run whose weights are random; returns its `Weights`."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (20, *shape), dtype=np.uint8)
    none = np.zeros(0, np.int64)
    workdir.mkdir(parents=True)
    construction = Construction(Split(images, None, None), np.arange(20), none, none)
    write_image_facts(workdir, measure_image_facts(construction))
    initial = set_up(config, measure_image_facts(construction).moments, 1).initial
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), initial.params
    )
    stats = jax.tree.map(
        lambda leaf: (
            leaf * rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
            + rng.uniform(0, 0.1, leaf.shape).astype(np.float32)
        ),
        initial.stats,
    )
    save_encoder(workdir, config, params, stats, step)
    return read_weights(workdir / ENCODER)
