"""The task of contrastive pre-training: views of an image attract, those of others repel.

Axes: b images of this device, m = 2b views, d embedding.
"""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from contrastive_jax.data.batches import Batch
from contrastive_jax.data.sources import Dataset
from contrastive_jax.errors import UserError
from contrastive_jax.models import ContrastiveModel
from contrastive_jax.numerics import unit_rows
from contrastive_jax.tasks.objective import Objective, make_objective
from contrastive_jax.training.augment import two_views
from contrastive_jax.training.task import Metrics, Outcome, StepContext, Task

__all__ = ['compare', 'contrast_loss', 'make_task', 'views_of']


def make_task(config) -> Task:
    """The task of contrast within a batch.

    Args:
      config: the whole config.
    """
    return Task(
        build=partial(ContrastiveModel, config.model),
        loss=partial(contrast_loss, objective=make_objective(config), augmentation=config.augment),
        check=partial(_check_labels, config.loss.name),
        announcement=[_treatment(config)],
    )


def contrast_loss(
    model: ContrastiveModel,
    extra,
    batch: Batch,
    context: StepContext,
    *,
    objective: Objective,
    augmentation,
) -> Outcome:
    """Augments, encodes, and compares with the views of all devices.

    Args:
      model: encoder and projector, trained.
      extra: None.
      batch: images uint8 `[b, h, w, c]`, and labels `[b]` or None.
      context: of the step.
      objective: what `make_objective` returns.
      augmentation: the section `augment` of a config.
    """
    views, labels = views_of(batch, context, augmentation)
    loss, metrics = compare(model, views, labels, objective, context.axis_name)
    return Outcome(loss, metrics)


def views_of(batch: Batch, context: StepContext, augmentation):
    """Two views of each image, all of view 1 first, `[m, h, w, c]`, and their labels or None."""
    views = two_views(context.key, batch.images, augmentation, context.first)
    return views, None if batch.labels is None else jnp.tile(batch.labels, 2)


def compare(
    model: ContrastiveModel, views, labels, objective: Objective, axis_name: str | None, **against
) -> tuple[Float[Array, ''], Metrics]:
    """Loss and metrics of an objective on some views.

    Args:
      model: encoder and projector, trained.
      views: `[r, h, w, c]` of this device.
      labels: `[r]`, or None.
      objective: what `make_objective` returns.
      axis_name: mapped axis; None on one device.
      **against: what the objective compares the views with, where that is not the batch.
    """
    features, embeddings = model(views, train=True)
    loss, metrics = objective(features, embeddings, labels, **against, axis_name=axis_name)
    metrics['embedding_std'] = _embedding_std(embeddings, axis_name)
    return loss, metrics


def _treatment(config) -> str:
    """How pairs are treated."""
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
    """How far the directions of all embeddings are spread; 0 if they are one, and 1 at most.

    `sqrt(d)` times the root mean square over dimensions of their standard deviation, which is
    `sqrt(mean |u|^2 - |mean u|^2)` for unit rows u.
    """
    unit = unit_rows(lax.stop_gradient(embeddings))
    squares = jnp.mean(jnp.sum(jnp.square(unit), axis=1))
    mean = jnp.mean(unit, axis=0)
    if axis_name is not None:
        squares, mean = lax.pmean((squares, mean), axis_name)
    return jnp.sqrt(jnp.maximum(squares - jnp.sum(jnp.square(mean)), 0))
