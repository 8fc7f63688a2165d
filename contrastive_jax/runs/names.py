"""Names of the files and loggers of a run, for readers that need no other part of a run."""

__all__ = [
    'CELL_NAMES',
    'CONFIG',
    'DYNAMICS',
    'ENCODER',
    'IMAGES',
    'LOGGERS',
    'METRICS',
    'RESULT',
    'START',
    'TENSORBOARD',
    'TRAINING_SET',
]

CONFIG, METRICS, RESULT = 'config.json', 'metrics.jsonl', 'result.json'
DYNAMICS, ENCODER = 'dynamics.npz', 'encoder.safetensors'
# What an encoder must know of its training images, and what a run began with.
IMAGES, START = 'images.json', 'start.json'
# Which images a run trains on.
TRAINING_SET = 'training_set.npz'
# Beside the folders of the runs of a grid: the names of the cells of each run.
CELL_NAMES = 'cells.json'
TENSORBOARD = 'tensorboard'
# What `--log` takes: where a run shows its curves.
LOGGERS = (TENSORBOARD, 'wandb', 'trackio')
