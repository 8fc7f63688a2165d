"""Probes the features of any encoder as a run probes its own: linear, few labels, neighbours.

python -m contrastive_jax.probe --features=features.npz [--out=probe.json]

The file holds train_features, train_labels, test_features and test_labels.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

from contrastive_jax.config import default
from contrastive_jax.data.feature_files import read_splits
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import check_labels_per_class, probe
from contrastive_jax.runtime import cli, progress
from contrastive_jax.runtime.files import write_json
from contrastive_jax.runtime.outputs import check_out

__all__ = ['run']


def run(path: str, out: Path | None, labels_per_class: int, *, overwrite: bool = False) -> dict:
    """Measures the features of a file with the default probe options, and returns the accuracies.

    Args:
      path: npz file of features and labels.
      out: JSON file to write, or None.
      labels_per_class: labels per class in each draw of the few-label probe.
      overwrite: whether to replace an earlier file.

    Raises:
      UserError: a file that does not fit, a class with too few samples, an `out` that exists or
        cannot be written.
    """
    if out is not None:
        check_out(out, suffixes=('.json',), overwrite=overwrite)
    train, test = read_splits(path)
    if len(train.rows) < 2:
        raise UserError(
            f'--features={path}, train_features: holds one row; a linear probe is fitted on some '
            'and its penalty chosen on others, so give at least two'
        )
    # `read_splits` refuses a file without labels.
    assert train.labels is not None
    assert test.labels is not None
    options = default().probe
    options.labels_per_class = labels_per_class
    check_labels_per_class(train.labels, labels_per_class, '--labels_per_class')
    unknown = np.setdiff1d(test.labels, train.labels)
    if len(unknown):
        raise UserError(
            f'--features={path}, test_labels: class {train.classes[unknown[0]]} has no row in '
            f'train_labels ({len(unknown)} such classes); leave these test rows out'
        )
    progress.say(f'probe: {path}')
    accuracies = probe(
        (train.rows, train.labels),
        (test.rows, test.labels),
        num_classes=len(train.classes),
        options=options,
        validate=True,
    )._asdict()
    validation = accuracies['validation']
    accuracies['validation'] = None if validation is None else validation._asdict()
    accuracies['by_class'] = dict(zip(train.classes, accuracies['by_class'], strict=True))
    if out is not None:
        write_json(out, accuracies)
    return accuracies


def main(values: flags.FlagValues) -> None:
    """Runs with the flags of the command line and prints the accuracies."""
    out = None if values.out is None else Path(values.out)
    accuracies = run(values.features, out, values.labels_per_class, overwrite=values.overwrite)
    print(json.dumps(accuracies, indent=2))


if __name__ == '__main__':
    cli.define_common(out='JSON file to write.', overwrite='Replace an earlier file.')
    flags.DEFINE_string('features', None, 'npz file of features and labels.')
    flags.DEFINE_integer(
        'labels_per_class',
        10,
        'Labels per class in each draw of the few-label probe.',
        lower_bound=1,
    )
    flags.mark_flag_as_required('features')
    cli.run(lambda: main(flags.FLAGS))
