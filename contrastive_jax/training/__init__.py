"""Training of any task: the step, the loop, the optimiser, augmentation and monitors."""

from contrastive_jax.runtime.lazy import lazy_names

# When a name is first asked for: to spread arrays over devices takes neither Flax nor Optax.
__getattr__, __dir__ = lazy_names(
    __name__,
    dict.fromkeys(('TrainState', 'init_state', 'train_step'), 'contrastive_jax.training.step'),
)

__all__ = ['TrainState', 'init_state', 'train_step']
