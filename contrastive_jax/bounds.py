"""Prints the bounds and conditions of the paper, from numbers or from a trained run; draws them.

python -m contrastive_jax.bounds --num_classes=4 --samples_per_class=20 --difficult_per_class=4 \\
  --alpha=0.6 --beta=0.1 --gamma=0.35 --labelling_error=0.1 --feature_dim=4 --out=bounds.png
python -m contrastive_jax.bounds --workdir=runs/digits --out=bounds.png
python -m contrastive_jax.bounds --features=features.npy --labels=labels.npy
"""

from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from contrastive_jax import theory
from contrastive_jax.data.feature_files import Features, read_features
from contrastive_jax.data.sampling import representative
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runtime import cli, progress
from contrastive_jax.runtime.files import write_whole
from contrastive_jax.runtime.outputs import check_out, picture_suffixes

_BOUNDS = {
    'without_difficult': 'no difficult examples (Thm 3.3)',
    'with_difficult': 'with them (Thm 3.4)',
    'removed': 'removed (Cor 4.1)',
    'margin': 'margin (Thm 4.3)',
    'temperature': 'temperature (Thm 4.5)',
}


def report(model: theory.SimilarityModel, labelling_error: float, feature_dim: int) -> str:
    """The table of bounds, the conditions and the optimal treatments, as text."""
    found = theory.bounds(model, labelling_error, feature_dim)
    conditions = theory.conditions(model, feature_dim)
    lines = [f'{"bound on the error":34} {"printed":>9}  {"block":>9}  {"matched":>9}']
    vacuous = False
    for name, title in _BOUNDS.items():
        values = getattr(found, name)
        vacuous |= max(values) >= 1
        # No error rate is above 1.
        cells = (f'{value:9.4f}{"*" if value >= 1 else " "}' for value in values)
        lines.append(f'{title:34} {" ".join(cells)}'.rstrip())
    lines += [
        *(['* 1 or more: says nothing about an error rate'] if vacuous else []),
        '',
        'block, matched: 4 delta / (1 - lambda) + 8 delta with the exact eigenvalue k + 1 of the '
        'graph',
        f'Theorem 3.4 speaks about this k: {_yes(conditions.in_range)}',
        f'removal helps: {_sides(conditions.removal_helps, "above")}',
        f'temperature scaling helps: {_sides(conditions.temperature_helps, "below")}',
        f'  to leading order: up to {conditions.temperature_reach:.4g} difficult samples a class',
    ]
    if model.difficult_per_class:
        lines.append(f'optimal margin (Thm 4.3): {theory.optimal_margin(model):.6g}')
        lines.append(f'optimal temperature (Thm 4.5): {theory.optimal_temperature(model):.6g}')
    return '\n'.join(lines)


def _yes(holds: bool) -> str:
    return 'yes' if holds else 'no'


def _sides(condition: theory.Condition, relation: str) -> str:
    return (
        f'{_yes(condition.holds)} ({condition.value:.4g} must be {relation} {condition.limit:.4g})'
    )


def estimate_run(
    workdir: Path, images: int, *, everything: bool = False
) -> tuple[theory.SimilarityModel, str]:
    """Fits the model to the features of a trained run, with labels where there are any.

    Args:
      workdir: of the run.
      images: how many to measure of those that the run trained on; a random sample, of each class
        its share.
      everything: also draw from the images that the run left out.

    Returns:
      The fitted model, and the estimates as text.
    """
    run = load_run(workdir)
    built, pairs = run.construction, run.config.pairs
    split = built.whole if everything else built.split
    drawn = representative(len(split.images), images, split.labels)
    rows = extract_features(run.encode, split.images[drawn])
    labels = None if split.labels is None else split.labels[drawn]
    kind = 'training images' if everything else 'images trained on'
    known = f', {np.isin(drawn, built.kept).sum()} of them trained on' if everything else ''
    title = f'{_share(drawn, split.images, kind)}{known}, encoder of step {run.step}'
    features = Features(rows, labels, run.dataset.classes)
    return _estimate(features, title, pairs.pos_high, pairs.pos_low)


def estimate_files(features: str, labels: str | None, rows: int):
    """The same of the features of any encoder, with the band of a data set of ten classes.

    Args:
      features: npy file, `[n, k]`.
      labels: npy file, `[n]` integers, or None.
      rows: how many to measure; a random sample, of each class its share.
    """
    found = read_features(features, labels, dtype=np.float64)
    drawn = representative(len(found.rows), rows, found.labels)
    known = None if found.labels is None else found.labels[drawn]
    title = _share(drawn, found.rows, f'rows of {features}')
    return _estimate(found._replace(rows=found.rows[drawn], labels=known), title, 0.1, 0.5)


def _share(drawn: np.ndarray, everyone, kind: str) -> str:
    """How many are measured, of how many."""
    of = '' if len(drawn) == len(everyone) else f', a sample of {len(everyone)}'
    return f'{len(drawn)} {kind}{of}'


def _estimate(
    features: Features, title: str, pos_high: float, pos_low: float
) -> tuple[theory.SimilarityModel, str]:
    measure = partial(
        theory.estimate,
        features.rows,
        pos_high=pos_high,
        pos_low=pos_low,
        progress=partial(progress.track, name='cosines', unit='block'),
    )
    lines = [title]
    try:
        estimates = [('without labels', measure())]
        if features.labels is not None:
            estimates.append(('with labels', measure(features.labels)))
    except ValueError as error:
        raise UserError(f'{title}: {error}') from error
    for name, found in estimates:
        values = (
            f'{name} {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]'
            for name, value in found._asdict().items()
            if isinstance(value, theory.Interval)
        )
        lines.append(f'{name}: ' + ', '.join(values))
        if found.message:
            lines.append(f'  beware: {found.message}')
    # Those of the sample: the model's classes have as many samples as were measured.
    known = features.labels is not None
    classes = len(np.unique(features.labels)) if known else round(1 / pos_high)
    lines.append(f'classes: {classes}, {"by label" if known else f"for pos_high={pos_high}"}')
    try:
        model = theory.fitted_model(estimates[-1][1], classes, len(features.rows) // classes)
    except ValueError as error:
        raise UserError('\n'.join([*lines, str(error)])) from error
    return model, '\n'.join(lines)


def _model_from_flags(values) -> theory.SimilarityModel:
    names = theory.SimilarityModel.__dataclass_fields__
    missing = [f'--{name}' for name in names if values[name].value is None]
    if missing:
        raise UserError(
            f'{", ".join(missing)}: missing; give all numbers, a --workdir, or --features'
        )
    try:
        return theory.SimilarityModel(**{name: values[name].value for name in names})
    except ValueError as error:
        raise UserError(f'--{error}') from error


def main(values: flags.FlagValues) -> None:
    """Prints the report and, with `--out`, draws it."""
    if values.workdir is not None and values.features is not None:
        raise UserError('--workdir, --features: give one of them, or the numbers')
    if values.workdir is None and values['all'].value:
        raise UserError('--all: goes with --workdir')
    given = values.workdir is None and values.features is None
    model = _model_from_flags(values) if given else None
    out = None if values.out is None else Path(values.out)
    if out is not None:
        check_out(out, suffixes=picture_suffixes(), overwrite=values.overwrite)
    if values.workdir is not None:
        model, text = estimate_run(
            Path(values.workdir), values.images, everything=values['all'].value
        )
        print(text, model, sep='\n')
    elif values.features is not None:
        model, text = estimate_files(values.features, values.labels, values.images)
        print(text, model, sep='\n')
    feature_dim = values.feature_dim or model.num_classes
    try:
        print('', report(model, values.labelling_error, feature_dim), sep='\n')
    except ValueError as error:
        raise UserError(f'--{error}') from error
    if out is not None:
        from contrastive_jax.reporting.theory_figures import figure

        page, kind = figure(model, values.labelling_error, feature_dim), out.suffix[1:].lower()
        write_whole(out, lambda file: page.savefig(file, dpi=100, format=kind))
        print(f'\ndrawn in {out}')


if __name__ == '__main__':
    flags.DEFINE_string('workdir', None, 'Trained run to measure; or give the numbers.')
    flags.DEFINE_bool('all', False, 'Also measure images of the run that it left out.')
    flags.DEFINE_string('features', None, 'Or an npy file: features [n, k] of any encoder.')
    flags.DEFINE_string('labels', None, 'With --features: npy file of n integers.')
    flags.DEFINE_integer(
        'images', 2000, 'Images or rows to measure; a random sample.', lower_bound=10
    )
    for _name in ('num_classes', 'samples_per_class', 'difficult_per_class'):
        flags.DEFINE_integer(_name, None, 'See SimilarityModel.')
    for _name in ('alpha', 'beta', 'gamma'):
        flags.DEFINE_float(_name, None, 'See SimilarityModel.')
    flags.DEFINE_float('labelling_error', 0.1, 'delta.', lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_integer('feature_dim', None, 'k; the number of classes by default.', lower_bound=1)
    flags.DEFINE_string('out', None, 'Picture to write.')
    flags.DEFINE_bool('overwrite', False, 'Replace an earlier picture.')
    cli.run(lambda: main(flags.FLAGS))
