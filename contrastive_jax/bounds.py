"""Prints the bounds and conditions of the paper, from numbers or from a trained run; draws them.

python -m contrastive_jax.bounds --num_classes=4 --samples_per_class=20 --difficult_per_class=4 \\
  --alpha=0.6 --beta=0.1 --gamma=0.35 --labelling_error=0.1 --feature_dim=4 --out=bounds.png
python -m contrastive_jax.bounds --workdir=runs/digits --out=bounds.png
python -m contrastive_jax.bounds --features=features.npy --labels=labels.npy
"""

from pathlib import Path
from typing import Any

from absl import flags

from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.similarities import Similarities, measure_files, measure_run
from contrastive_jax.reporting.style import save
from contrastive_jax.reporting.theory_text import bounds_text as report
from contrastive_jax.reporting.theory_text import similarities_text
from contrastive_jax.runs.workdir import check_outside_data_of
from contrastive_jax.runtime import cli
from contrastive_jax.runtime.outputs import check_out, picture_suffixes
from contrastive_jax.theory import SimilarityModel

# Flags of what the numbers are measured on.
_MEASURED = ('workdir', 'features')


def fitted(measured: Similarities) -> tuple[SimilarityModel, str]:
    """The model that fits what was measured, and the estimates as text."""
    text = similarities_text(measured)
    try:
        return measured.fitted_model(), text
    except ValueError as error:
        *_, last = measured.estimates.values()
        needs = '; the theory needs 0 <= beta < gamma < alpha < 1' if last.message else ''
        way_out = (
            '; take features after a ReLU, whose cosines are not negative'
            if last.beta.value < 0
            else ''
        )
        measured_line = '; '.join(line.strip() for line in text.splitlines())
        raise UserError(f'{measured_line}; {error}{needs}{way_out}') from error


def _model_of_flags(values: flags.FlagValues) -> SimilarityModel:
    names = SimilarityModel.__dataclass_fields__
    numbers: dict[str, Any] = {name: values[name].value for name in names}
    if missing := [f'--{name}' for name, value in numbers.items() if value is None]:
        named = ', '.join(missing)
        raise UserError(f'{named}: missing; give all numbers, a --workdir, or --features')
    try:
        return SimilarityModel(**numbers)
    except ValueError as error:
        raise UserError(f'--{error}') from error


def main(values: flags.FlagValues) -> None:
    """Prints the report and, with `--out`, draws it."""
    workdir, features, everything = values.workdir, values.features, bool(values['all'].value)
    if workdir is not None and features is not None:
        raise UserError('--workdir, --features: give one of them, or the numbers')
    cli.check_company(values, ('all',), ('workdir',))
    cli.check_company(values, ('labels',), ('features',))
    cli.check_company(values, ('images',), ('workdir', 'features'))
    source = next((f'--{name}' for name in _MEASURED if values[name].value is not None), None)
    numbers = [name for name in SimilarityModel.__dataclass_fields__ if values[name].present]
    if numbers and source:
        raise UserError(
            f'--{numbers[0]}, {source}: with {source} this number is measured; give one of the two'
        )
    model = None if source else _model_of_flags(values)
    if values.out is not None:
        check_out(Path(values.out), suffixes=picture_suffixes(), overwrite=values.overwrite)
        check_outside_data_of([] if workdir is None else [Path(workdir)], Path(values.out))
    if model is None:
        if workdir is not None:
            measured = measure_run(Path(workdir), values.images, everything=everything)
        else:
            measured = measure_files(features, values.labels, values.images)
        model, text = fitted(measured)
        print(text, model, sep='\n')
    choices = values.labelling_error, values.feature_dim or model.num_classes
    try:
        print('', report(model, *choices), sep='\n')
    except ValueError as error:
        raise UserError(f'--{error}') from error
    if values.out is not None:
        from contrastive_jax.reporting.theory_figures import figure  # matplotlib takes a second

        save(figure(model, *choices), Path(values.out))
        print(f'\ndrawn in {values.out}')


if __name__ == '__main__':
    cli.define_common(
        workdir='Trained run whose numbers are measured, in place of numbers from flags.',
        all='Also measure images of the run that it left out.',
        out='Picture to write.',
        overwrite='Replace an earlier picture.',
    )
    cli.define_features()
    flags.DEFINE_integer('images', 2000, 'Size of the random sample to measure.', lower_bound=10)
    flags.DEFINE_integer('num_classes', None, 'Number of classes, r + 1.')
    flags.DEFINE_integer('samples_per_class', None, 'Number of samples in each class, n.')
    flags.DEFINE_integer(
        'difficult_per_class', None, 'Number of difficult samples in each class, n_d.'
    )
    flags.DEFINE_float('alpha', None, 'Similarity of two samples of one class.')
    flags.DEFINE_float('beta', None, 'Similarity of different classes where gamma does not apply.')
    flags.DEFINE_float('gamma', None, 'Similarity of difficult samples of different classes.')
    flags.DEFINE_float('labelling_error', 0.1, 'Labelling error, delta.', 0.0, 1.0)
    flags.DEFINE_integer(
        'feature_dim',
        None,
        'Number of feature dimensions, k; by default the number of classes.',
        lower_bound=1,
    )
    cli.run(lambda: main(flags.FLAGS))
