"""Training of any task: the step, the loop, the optimiser and augmentation."""

from typing import TYPE_CHECKING

from contrastive_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from contrastive_jax.training.step import TrainState, init_state, train_step

# Imported on first use, because spreading arrays over devices needs neither Flax nor Optax.
__getattr__, __dir__ = lazy_names(
    __name__,
    dict.fromkeys(('TrainState', 'init_state', 'train_step'), 'contrastive_jax.training.step'),
)

__all__ = ['TrainState', 'init_state', 'train_step']
