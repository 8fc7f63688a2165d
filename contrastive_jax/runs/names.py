"""Names of the files in the folder of a run, for readers that need no other part of a run."""

__all__ = ['CONFIG', 'DYNAMICS', 'METRICS', 'RESULT']

CONFIG, METRICS, RESULT = 'config.json', 'metrics.jsonl', 'result.json'
DYNAMICS = 'dynamics.npz'
