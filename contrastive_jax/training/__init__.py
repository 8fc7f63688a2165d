"""Pre-training: state, augmentation, step, loop, checkpoints and logs."""

from contrastive_jax.training.step import TrainState, init_state, train_step

__all__ = ['TrainState', 'init_state', 'train_step']
