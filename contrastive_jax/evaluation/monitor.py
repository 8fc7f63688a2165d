"""Looks at the encoder while it trains: neighbours, geometry, and difficulty of fixed images.

A look is one compiled program over all devices of all processes. Each device encodes a part of the
images, and no step waits for the result.

Axes: n training images, v labelled images that vote, t test images, a images seen in two views,
N images of a look in all, k features.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.sampling import representative
from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.geometry import alignment, effective_rank, uniformity
from contrastive_jax.evaluation.knn import VotingRule, knn_predict
from contrastive_jax.graph.class_cosines import cosines_by_class
from contrastive_jax.graph.difficulty import sample_difficulty
from contrastive_jax.numerics import gather
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.runs.dynamics import ScoreLog
from contrastive_jax.training import devices
from contrastive_jax.training.augmentation import two_views
from contrastive_jax.training.looks import Looks, Monitor, no_looks
from contrastive_jax.training.optimizer import count_steps
from contrastive_jax.training.step import TrainState
from contrastive_jax.training.task import Metrics

__all__ = ['Sample', 'check_monitor', 'make_monitor', 'measures', 'monitored']

_NEIGHBOURS = VotingRule(20)
# Images seen in two views. Their alignment has a standard error of a few hundredths.
_ALIGNED = 128
# Fewer rows at a time would keep a device waiting.
_LEAST_ROWS = 16


class Sample(NamedTuple):
    """The images of every look.

    Attributes:
      trained: `[n]` indices of images that the run trains on.
      images: by the use of the images, in the order in which a look encodes them: `trained`,
        `first` and `second` views, and with labels `voters` (unless they are those trained on) and
        `queries`.
      labels: of the images of the same name, where they are known.
    """

    trained: np.ndarray
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def check_monitor(config: ConfigDict, dataset: Dataset) -> None:
    """Checks the section `monitor` of a config against its data.

    Args:
      config: the whole config.
      dataset: data set that the config names.

    Raises:
      UserError: fewer images than there are classes.
    """
    images = config.monitor.images
    if not config.monitor.every_epochs:
        return
    labels = [split.labels for split in (dataset.train, dataset.pretrain)]
    classes = max((len(np.unique(known)) for known in labels if known is not None), default=0)
    if images < classes:
        raise UserError(
            f'config.monitor.images={images}: fewer than the {classes} classes, and each needs an '
            f'image; choose {classes} or more'
        )


def make_monitor(
    config: ConfigDict, dataset: Dataset, construction: Construction, workdir: Path
) -> Monitor:
    """The monitor that a config asks for.

    Args:
      config: the whole config, checked with `check_monitor`.
      dataset: images that the probes use.
      construction: images that the run trains on.
      workdir: folder of the run, which holds its config.

    Returns:
      The monitor; `no_looks` if `config.monitor.every_epochs` is 0.
    """
    if not config.monitor.every_epochs:
        return no_looks
    return partial(_begin, config, dataset, construction, workdir)


def _begin(
    config: ConfigDict,
    dataset: Dataset,
    construction: Construction,
    workdir: Path,
    graphdef: nnx.GraphDef,
    state: TrainState,
) -> Looks:
    sample = monitored(config, dataset, construction)
    steps_per_epoch = len(construction.kept) // config.batch_size
    scores = ScoreLog(
        workdir,
        construction.kept[sample.trained],
        int(state.step) // steps_per_epoch,
        Path(config.extend) if config.extend else None,
    )
    total = count_steps(config, steps_per_epoch)
    # A run that ends before its first look is looked at once, at its end.
    between = min(config.monitor.every_epochs * steps_per_epoch, total)
    images = devices.split(_spread(list(sample.images.values()), 2 * config.batch_size))
    look = devices.map_over_devices(
        partial(_look, graphdef=graphdef, sample=sample, pairs=config.pairs), donate=False
    )

    def metrics(step: int, state: TrainState) -> Metrics:
        if step % between:
            return {}
        measured, score = look((state.params, state.stats), images)
        scores.add(step // steps_per_epoch, score)
        return measured

    # Compiled now, so that the pace of the steps does not contain it.
    jax.block_until_ready(look((state.params, state.stats), images))
    return Looks(metrics, scores.save)


def monitored(config: ConfigDict, dataset: Dataset, construction: Construction) -> Sample:
    """Draws the images of every look. They are the same for all seeds.

    Args:
      config: the whole config.
      dataset: images that the probes use.
      construction: images that the run trains on.

    Returns:
      Indices, images and labels. There are at most `config.monitor.images` images trained on,
      voters and queries each, and at most 128 are seen in two views.
    """
    split, count = construction.split, config.monitor.images
    trained = representative(len(split.images), count, split.labels)
    images = {'trained': split.images[trained]}
    labels = {} if split.labels is None else {'trained': split.labels[trained]}
    images['first'], images['second'] = _views(images['trained'], config.augment)
    if dataset.train.labels is not None and dataset.test.labels is not None:
        if split.images is not dataset.train.images:
            images['voters'], labels['voters'] = _drawn(dataset.train, count)
        images['queries'], labels['queries'] = _drawn(dataset.test, count)
    return Sample(trained, images, labels)


def _drawn(split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A part of the images of a labelled split, and their labels."""
    assert split.labels is not None
    drawn = representative(len(split.images), count, split.labels)
    return split.images[drawn], split.labels[drawn]


def _views(images: np.ndarray, augmentation: ConfigDict) -> np.ndarray:
    """Two views of some of the images, `[2, a, h, w, c]` uint8, the same for all seeds."""
    some = images[representative(len(images), _ALIGNED)]
    key = device_key(KeyUse.MONITOR_VIEWS, 0)
    draw = jax.jit(partial(two_views, augmentation=augmentation))
    views = np.asarray(draw(key, some))
    return np.rint(255 * views).astype(np.uint8).reshape(2, *some.shape)


def _spread(parts: list[np.ndarray], most: int) -> np.ndarray:
    """The part of the images that the devices of this process encode.

    Args:
      parts: `[., h, w, c]` each.
      most: images that all devices encode at a time; with the views of a step, a look takes no more
        memory than a step.

    Returns:
      `[devices, batches, size, h, w, c]`, padded with zeros.
    """
    images = np.concatenate(parts)
    count, own = jax.device_count(), jax.local_device_count()
    share = -(-len(images) // count)
    size = min(share, max(_LEAST_ROWS, most // count))
    batches = -(-share // size)
    padded = np.zeros((count * batches * size, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    spread = padded.reshape(count, batches, size, *images.shape[1:])
    return spread[jax.process_index() * own :][:own]


def _look(
    weights: tuple[Any, Any],
    images: Array,
    *,
    graphdef: nnx.GraphDef,
    sample: Sample,
    pairs: ConfigDict,
    axis_name: str | None = None,
) -> tuple[Metrics, Float[Array, ' n']]:
    """Encodes the images `[batches, size, h, w, c]` of this device, and measures those of all."""

    def encode(batch):
        model = nnx.merge(graphdef, *weights, copy=True)
        return model.encode(batch.astype(jnp.float32) / 255, train=False)

    features = lax.map(encode, images)
    features = gather(features.reshape(-1, features.shape[-1]), axis_name)
    sizes = [len(part) for part in sample.images.values()]
    ends = np.cumsum(sizes).tolist()
    parts = {
        name: features[end - size : end]
        for name, size, end in zip(sample.images, sizes, ends, strict=True)
    }
    return measures(parts, sample.labels, pos_high=pairs.pos_high, pos_low=pairs.pos_low)


def measures(
    features: Mapping[str, Float[Array, '_ k']],
    labels: Mapping[str, np.ndarray],
    *,
    pos_high: float,
    pos_low: float,
) -> tuple[Metrics, Float[Array, ' n']]:
    """Measures the features of a look.

    Without labels, alpha, beta and gamma are those of the bands alone.

    Args:
      features: `[., k]` features by use, as in `Sample.images`.
      labels: labels by use, as in `Sample.labels`.
      pos_high: where the difficult band begins, as a percentile from the top.
      pos_low: where it ends, from the top too.

    Returns:
      The metrics, and the difficulty `[n]` of the images trained on.
    """
    trained = features['trained']
    metrics = {
        'rank': effective_rank(trained),
        'alignment': alignment(features['first'], features['second']),
        'uniformity': uniformity(trained),
        **_similarities(trained, labels.get('trained'), pos_high, pos_low),
    }
    if 'queries' in features:
        metrics['knn'] = _knn_accuracy(features, labels)
    difficulty = sample_difficulty(trained, pos_high=pos_high, pos_low=pos_low)
    return {f'monitor/{name}': metrics[name] for name in sorted(metrics)}, jnp.asarray(
        difficulty.score
    )


def _knn_accuracy(
    features: Mapping[str, Float[Array, '_ k']], labels: Mapping[str, np.ndarray]
) -> Float[Array, '']:
    voters = 'voters' if 'voters' in features else 'trained'
    known, truth = labels[voters], labels['queries']
    (predicted,) = knn_predict(
        features[voters],
        jnp.asarray(known),
        features['queries'],
        num_classes=int(max(known.max(), truth.max())) + 1,
        rules=(_NEIGHBOURS,),
    )
    return jnp.mean((predicted == jnp.asarray(truth)).astype(jnp.float32))


def _similarities(
    features: Float[Array, 'n k'], labels: np.ndarray | None, pos_high: float, pos_low: float
) -> dict[str, Float[Array, '']]:
    """alpha, beta and gamma; with labels also their order, and the purity of the band."""
    if labels is None:
        bands = sample_difficulty(features, pos_high=pos_high, pos_low=pos_low, center=False)
        means = (jnp.mean(jnp.asarray(band)) for band in (bands.alpha, bands.beta, bands.gamma))
        return dict(zip(('alpha', 'beta', 'gamma'), means, strict=True))
    alpha, beta, gamma, purity = cosines_by_class(
        features, jnp.asarray(labels), pos_high=pos_high, pos_low=pos_low
    )
    ordered = ((beta < gamma) & (gamma < alpha)).astype(jnp.float32)
    # Without easy or without difficult pairs there is no order to look at.
    ordered = jnp.where(jnp.isnan(alpha + beta + gamma), jnp.nan, ordered)
    return {
        'alpha': alpha,
        'beta': beta,
        'gamma': gamma,
        'ordered': ordered,
        'band_purity': purity,
    }
