"""Training of any task: the step, the loop, the optimiser, augmentation and monitors."""

from contrastive_jax.training.step import TrainState, init_state, train_step

__all__ = ['TrainState', 'init_state', 'train_step']
