"""The task of contrastive pre-training: the two views of an image attract each other.

Views of different images repel each other.

Axes: b images of this device, m = 2b views, r views that are compared, d embedding, h w pixels,
c channels.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from contrastive_jax.data.batches import Batch
from contrastive_jax.data.sources import Dataset
from contrastive_jax.errors import UserError
from contrastive_jax.models import ContrastiveModel
from contrastive_jax.numerics import unit_rows
from contrastive_jax.tasks.objective import Objective, make_objective
from contrastive_jax.training.augmentation import two_views
from contrastive_jax.training.task import Metrics, Outcome, StepContext, Task

__all__ = ['compare', 'contrast_loss', 'make_task', 'views_of']


def make_task(config: ConfigDict) -> Task:
    """The task of contrastive pre-training with the negatives of the batch.

    Args:
      config: the whole config.

    Returns:
      The task, without an extra state.
    """
    return Task(
        build=partial(ContrastiveModel, config.model),
        loss=partial(contrast_loss, objective=make_objective(config), augmentation=config.augment),
        check=partial(_check_labels, config.loss.name),
        announcement=[_treatment(config)],
    )


def contrast_loss(
    model: ContrastiveModel,
    extra: None,
    batch: Batch,
    context: StepContext,
    *,
    objective: Objective,
    augmentation: ConfigDict,
) -> Outcome:
    """Augments and encodes the images of a batch, and compares the views of all devices.

    Args:
      model: encoder and projector.
      extra: extra state of the task; None, because this task has none.
      batch: uint8 images `[b, h, w, c]`, and labels `[b]` or None.
      context: context of the step.
      objective: objective that `make_objective` returns.
      augmentation: the section `augment` of a config.

    Returns:
      The loss, a float32 scalar that is the mean over all devices, and the metrics of `compare`.
    """
    views, labels = views_of(batch, context, augmentation)
    loss, metrics = compare(model, views, labels, objective, context.axis_name)
    return Outcome(loss, metrics)


def views_of(
    batch: Batch, context: StepContext, augmentation: ConfigDict
) -> tuple[Float[Array, 'm h w c'], Int[Array, ' m'] | None]:
    """Two views of each image `[m, h, w, c]`, first views first, and their labels `[m]` or None."""
    views = two_views(context.key, batch.images, augmentation, context.first)
    return views, None if batch.labels is None else jnp.tile(batch.labels, 2)


def compare(
    model: ContrastiveModel,
    views: Float[Array, 'r h w c'],
    labels: Int[Array, ' r'] | None,
    objective: Objective,
    axis_name: str | None,
    **negatives: Any,
) -> tuple[Float[Array, ''], Metrics]:
    """Computes the loss and the metrics of an objective on some views.

    Args:
      model: encoder and projector.
      views: `[r, h, w, c]` views on this device.
      labels: `[r]` class of each view, or None.
      objective: objective that `make_objective` returns.
      axis_name: name of the mapped axis; None on one device.
      **negatives: `keys` and `queue` that the views are compared with; nothing to compare them with
        the batch.

    Returns:
      The loss, a float32 scalar that is the mean over all devices, and the metrics by name: those
      of the objective, and `embedding_std` in [0, 1], the spread of the directions of embeddings.
    """
    features, embeddings = model(views, train=True)
    loss, metrics = objective(features, embeddings, labels, **negatives, axis_name=axis_name)
    metrics['embedding_std'] = _embedding_std(embeddings, axis_name)
    return loss, metrics


def _treatment(config: ConfigDict) -> str:
    """The arm of a run and its treatment of pairs as one line."""
    pairs = config.pairs
    return (
        f'arm {config.arm or "without a name"}: select={pairs.select}, remove={pairs.remove}, '
        f'margin={pairs.margin}, temperature_scale={pairs.temperature_scale}'
    )


def _check_labels(loss: str, dataset: Dataset) -> None:
    if loss == 'supervised' and dataset.pretrain.labels is None:
        raise UserError(
            "config.loss.name='supervised': needs labels, and these images have none; choose "
            'another loss'
        )


def _embedding_std(embeddings: Float[Array, 'm d'], axis_name: str | None) -> Float[Array, '']:
    """Spread of the directions of all embeddings: 0 if they are equal, and 1 at most.

    This is `sqrt(d)` times the root mean square of the standard deviations of all dimensions. For
    unit rows u it is `sqrt(mean |u|^2 - |mean u|^2)`.
    """
    unit = unit_rows(lax.stop_gradient(embeddings))
    squares = jnp.mean(jnp.sum(jnp.square(unit), axis=1))
    mean = jnp.mean(unit, axis=0)
    if axis_name is not None:
        squares, mean = lax.pmean((squares, mean), axis_name)
    return jnp.sqrt(jnp.maximum(squares - jnp.sum(jnp.square(mean)), 0))
