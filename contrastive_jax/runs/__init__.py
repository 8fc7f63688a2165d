"""A run's folder: config, checkpoints, logs, result; and loading it back."""
