"""What System 2 finds, over seeds: the tables of `verify`, and mixed images beside System 1.

    python -m launch.sweep --grid=mixtures --config=configs/digits.py --seeds=3 --runs=runs/mixtures
    python -m studies.verifier --steps=1000 RUN RUN RUN ...

Runs without a whole folder `verify` are verified first; those of mixed images without controls, for
their scores alone. A folder made with other options is refused.
ROC-AUC is signed: high = mixed, as each score says, never turned round afterwards.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from contrastive_jax import graph, verify
from contrastive_jax.data.stored import subset
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.runs.loading import TrainedRun, load_run
from contrastive_jax.runtime import compilation
from contrastive_jax.runtime.files import read_arrays, read_json
from studies.measures import spread
from studies.outputs import as_path, command

Values = dict[str, list[float]]


def in_band(run: TrainedRun, workdir: Path) -> dict[str, float]:
    """ROC-AUC for same class of the pairs whose energies are written, without mixed images.

    Raises:
      UserError: the images have no labels.
    """
    labels = run.construction.whole.labels
    if labels is None:
        raise UserError(f'{workdir}: its images have no labels, which this study needs')
    energies = read_arrays(workdir / 'verify' / 'energies.npz')
    left = ~np.isin(energies['i'], run.construction.mixed) & ~np.isin(
        energies['j'], run.construction.mixed
    )
    same = (labels[energies['i']] == labels[energies['j']])[left]
    scores = {
        'cosine': energies['cosine'],
        'system 2': -energies['F'],
        'system 2, with G of 2 steps': -energies['F'] - energies['G_2'],
        'G of 2 steps alone': -energies['G_2'],
        'd of 2 steps alone': -energies['d_2'],
    }
    aucs = {name: float(roc_auc_score(same, score[left])) for name, score in scores.items()}
    gain = aucs['system 2'] - aucs['cosine']
    return {'share of the same class': float(same.mean()), **aucs, 'gain of system 2': gain}


def detection(run: TrainedRun, workdir: Path) -> dict[str, float]:
    """ROC-AUC of every score for the mixed images of a run, among the images with scores."""
    columns = read_arrays(workdir / 'verify' / 'scores.npz')
    mixed = np.isin(columns['index'], run.construction.mixed)
    images = subset(run.construction.whole.images, columns['index'])
    features = extract_features(run.encode, images)
    band = {name: run.config.pairs[name] for name in ('pos_high', 'pos_low')}
    first = np.asarray(graph.sample_difficulty(features, **band).score)
    isolation = np.asarray(graph.isolation(features))
    scores = {
        'System 1: difficulty': first,
        'System 1: isolation': isolation,
        'System 1: boundary': graph.scores.boundary(first, isolation),
        'System 2: score': columns['score'],
        'System 2: score and isolation': graph.scores.boundary(columns['score'], isolation),
        'System 2: compatibility': columns['compatibility'],
        'System 2: energy gain': columns['energy_gain'],
        'System 2: motion': columns['motion'],
    }
    return {name: float(roc_auc_score(mixed, score)) for name, score in scores.items()}


def tables(workdir: Path) -> dict[str, dict[str, float]]:
    """In-band numbers of a run, by table and row.

    Raises:
      UserError: a table is missing.
    """
    summary = read_json(workdir / 'verify' / 'verify.json')
    numbers: dict[str, dict[str, float]] = {}
    for split in ('train', 'test'):
        part = summary.get(split, {})
        if 'class' not in part:
            raise UserError(
                f'{workdir}: verify.json has no table of the classes of {split} images; it needs '
                'controls, labels, and pairs of one class and of several; leave the run out'
            )
        for kind in ('class', 'instance'):
            for measure in ('auc', 'gain', 'ap'):
                rows = {name: row[measure] for name, row in part[kind].items()}
                numbers[f'{split}, same {kind}: {measure}'] = rows
            for name in ('F and G', 'G', 'd'):
                steps = {str(row['steps']): row[name] for row in part[f'{kind}_by_steps']}
                numbers[f'{split}, same {kind}: AUC of {name} by steps'] = steps
        numbers[f'{split}: Recall@1'] = part['recall_at_1']
        numbers[f'{split}: calibration error'] = part['calibration_error']
        numbers[f'{split}: AUC by fraction rescored'] = {
            str(row['fraction']): row['auc'] for row in part['by_fraction']
        }
        for number, row in enumerate(part['by_margin']):
            gain = row['system 2'] - row['cosine']
            numbers.setdefault(f'{split}: gain by margin, nearest first', {})[str(number)] = gain
    for measure in ('flops', 'time_ratio'):
        rows = {name: row[measure] for name, row in summary['cost_of_a_pair'].items()}
        numbers[f'cost of a pair: {measure}'] = rows
    return numbers


def _is_verified(workdir: Path, made_with: dict[str, int], *, controls: bool) -> bool:
    """Whether the folder `verify` of a run is whole.

    Raises:
      SystemExit: it is, but an option was not that in `made_with`, or it was made with --all, or
        without the controls that are needed.
    """
    # `verify` writes this file last.
    if not (workdir / 'verify' / 'scores.npz').exists():
        return False
    # Earlier versions wrote neither of these.
    summary = {'all': False, 'controls': True} | read_json(workdir / 'verify' / 'verify.json')
    needed = made_with | {'all': False} | ({'controls': True} if controls else {})
    for name, value in needed.items():
        if summary.get(name) != value:
            raise SystemExit(
                f'{workdir}: verify.json has {name}={summary.get(name)}, not {name}={value}; '
                f'delete {workdir / "verify"} to verify it again, or leave the run out'
            )
    return True


def verify_all(workdirs: list[Path], steps: int) -> None:
    """Verifies the runs that are not verified yet."""
    pending = []
    # All are checked before the first is verified, which takes long.
    for workdir in workdirs:
        config = read_json(workdir / 'config.json')
        made_with = {'steps': steps, 'seed': config['seed'], 'neighbours': 0}
        controls = config['mixed']['ratio'] == 0
        if not _is_verified(workdir, made_with, controls=controls):
            pending.append((workdir, made_with, controls))
    for workdir, made_with, controls in pending:
        out = workdir / 'verify'
        # A call that was interrupted has left a part of its files.
        verify.run(workdir, out, **made_with, controls=controls, overwrite=True)


def _gathered(rows: list[dict[str, float]]) -> Values:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _print(title: str, values: Values) -> None:
    print(f'\n{title} (n = {len(next(iter(values.values())))})')
    for name, numbers in values.items():
        print(f'  {name:40}      {spread(numbers)}')


def main() -> None:
    """Parses the options, verifies what is not verified yet, and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('runs', type=as_path, nargs='+')
    parser.add_argument('--steps', type=int, default=1000)
    options = parser.parse_args()
    compilation.keep_programs()
    verify_all(options.runs, options.steps)
    mixtures: dict[str, list] = {}
    plain: list[dict[str, dict[str, float]]] = []
    for workdir in options.runs:
        config = read_json(workdir / 'config.json')
        if config['mixed']['ratio'] > 0:
            kind = 'matched' if config['mixed']['match_contrast'] else 'plain'
            run = load_run(workdir)
            mixtures.setdefault(f'mixed images, {kind}', []).append(detection(run, workdir))
            title = f'same class in the band, {kind}, all images that are not mixed'
            mixtures.setdefault(title, []).append(in_band(run, workdir))
        else:
            plain.append(tables(workdir))
    for kind, rows in mixtures.items():
        _print(f'{kind}: ROC-AUC', _gathered(rows))
    for title in plain[0] if plain else ():
        _print(title, _gathered([numbers[title] for numbers in plain]))


if __name__ == '__main__':
    command(main)
