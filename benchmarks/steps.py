"""The step of a config, and its parts, as the benchmarks call them: images of noise, one device.

Axes: b images, m = 2b views, k features, d embedding.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from contrastive_jax.config.files import load_config
from contrastive_jax.data.batches import Batch
from contrastive_jax.models import Moments
from contrastive_jax.randomness import KeyUse, Use, device_key, host_rng
from contrastive_jax.runtime.compilation import step_options
from contrastive_jax.tasks.objective import make_objective
from contrastive_jax.training import devices
from contrastive_jax.training.augmentation import two_views
from contrastive_jax.training.optimizer import make_optimizer, make_schedule
from contrastive_jax.training.setup import set_up

__all__ = [
    'STEPS_PER_EPOCH',
    'Chain',
    'Step',
    'load_config',
    'moments',
    'noise',
    'objective',
    'on_all_devices',
    'parts',
    'treat',
]

STEPS_PER_EPOCH = 10


def treat(config, select: str):
    """The config with the combined treatment of the pairs that `select` names, or with none."""
    config = config.copy_and_resolve_references()
    treated = select != 'none'
    config.arm = ''
    config.pairs.update(
        select=select,
        margin=0.1 if treated else 0.0,
        temperature_scale=0.8 if treated else 1.0,
    )
    return config


def moments(channels: int) -> Moments:
    """Pixel moments of images of noise."""
    return Moments((0.5,) * channels, (0.25,) * channels)


def noise(batch: int, shape: tuple[int, int, int]) -> Batch:
    """Images of noise `[b, h, w, c]`, and labels of ten classes."""
    rng = host_rng(Use.BENCHMARK_DATA, 0)
    images = rng.integers(0, 256, (batch, *shape), dtype=np.uint8)
    return Batch(images, rng.integers(0, 10, batch, dtype=np.int32))


def compiled(function: Callable, *arguments):
    """A function compiled as the training step is."""
    return jax.jit(function, compiler_options=step_options()).lower(*arguments).compile()


def features_of(setup) -> int:
    """How many features the encoder has."""
    model = nnx.merge(setup.graphdef, setup.initial.params, setup.initial.stats, copy=True)
    return model.encoder.num_features


class Chain:
    """Takes steps, each from the state that the last one left.

    Attributes:
      state: that of the last step.
    """

    def __init__(self, step: Callable, state):
        """Takes none yet."""
        self._step, self.state = step, state

    def __call__(self, batch):
        """Takes a step; returns its metrics."""
        self.state, metrics = self._step(self.state, batch)
        return metrics


def on_all_devices(setup) -> Chain:
    """The steps of a setup, mapped over the devices."""
    return Chain(devices.map_over_devices(setup.step), devices.replicate(setup.initial))


class Step:
    """A training step that goes on from its own last state.

    Attributes:
      program: it, compiled.
      features: of the encoder.
    """

    def __init__(self, config, batch: Batch):
        """Compiles it."""
        setup = set_up(config, moments(batch.images.shape[-1]), STEPS_PER_EPOCH)
        self._batch = jax.device_put(batch)
        self._jitted = jax.jit(setup.step, donate_argnums=0, compiler_options=step_options())
        self.program = self._jitted.lower(setup.initial, self._batch).compile()
        self._chain = Chain(self.program, setup.initial)
        self.features = features_of(setup)

    def flops(self) -> float | None:
        """FLOPs of one step; None where XLA does not count them."""
        return _flops(self._jitted, self._chain.state, self._batch)

    def __call__(self):
        """Takes a step; returns its metrics."""
        return self._chain(self._batch)


def _flops(jitted, *arguments) -> float | None:
    """FLOPs of a program, as XLA counts them for a CPU before it compiles.

    After that, what it hands to a library may count as nothing, and for GPUs it counts nothing
    before (JAX 0.11).
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    try:
        cpu = jax.devices('cpu')[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return None
    with jax.default_device(cpu):
        counted = jitted.lower(*shapes).cost_analysis()
    return counted['flops'] if counted else None


def objective(config, batch: Batch, features: int) -> Callable[[], object]:
    """Selection and loss alone, with the gradient to the embeddings, of rows of noise."""
    function, labels = make_objective(config), jnp.tile(batch.labels, 2)

    def loss(embeddings, rows):
        return function(rows, embeddings, labels)

    embeddings, rows = (
        jax.random.normal(device_key(KeyUse.BENCHMARK_DATA, seed), (2 * len(batch.images), size))
        for seed, size in enumerate((config.model.projector_dim, features))
    )
    program = compiled(jax.value_and_grad(loss, has_aux=True), embeddings, rows)
    return lambda: program(embeddings, rows)


def parts(config, batch: Batch) -> dict[str, Callable[[], object]]:
    """The parts of a step by name, each a program of its own."""
    schedule = make_schedule(config, STEPS_PER_EPOCH)
    optimizer = make_optimizer(config, schedule)
    setup = set_up(config, moments(batch.images.shape[-1]), STEPS_PER_EPOCH)
    params, stats = setup.initial.params, setup.initial.stats
    images, key = jax.device_put(batch.images), device_key(KeyUse.BENCHMARK_VIEWS, 0)
    augment = compiled(lambda key, images: two_views(key, images, config.augment), key, images)
    views = augment(key, images)

    def encode(params, views):
        model = nnx.merge(setup.graphdef, params, stats, copy=True)
        # The gradient of a sum costs nothing of its own, as that of a loss would.
        return jnp.sum(model(views, train=True)[1]), nnx.state(model, nnx.BatchStat)

    encoder = compiled(jax.value_and_grad(encode, has_aux=True), params, views)
    grads = encoder(params, views)[1]

    def update(grads, opt_state, params):
        with jax.numpy_dtype_promotion('standard'):
            updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    updated = compiled(update, grads, setup.initial.opt_state, params)
    width = features_of(setup)
    return {
        'augmentation': lambda: augment(key, images),
        'encoder': lambda: encoder(params, views),
        'loss': objective(treat(config, 'none'), batch, width),
        'loss and selection': objective(treat(config, 'difficult'), batch, width),
        'optimiser': lambda: updated(grads, setup.initial.opt_state, params),
    }
