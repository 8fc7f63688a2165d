"""Scores how difficult every image is that a run trained on: files, a summary and pictures.

python -m contrastive_jax.score --workdir=runs/digits [--all] [--dynamics]
python -m contrastive_jax.score --features=features.npy --labels=labels.npy --out=scores
python -m contrastive_jax.score --features=shards --landmarks=16384 --out=scores_landmarks

Axes: n rows of features, m samples that are scored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from contrastive_jax.data.feature_files import read_labels
from contrastive_jax.data.feature_rows import open_rows
from contrastive_jax.data.score_files import ScoreFile
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.row_scores import (
    RowSamples,
    rows_of_samples,
    scored_file,
    why_tiles,
)
from contrastive_jax.evaluation.samples import (
    Options,
    Samples,
    dynamics_columns,
    from_files,
    from_run,
    score,
    tiles_of,
)
from contrastive_jax.evaluation.score_folder import SCORE_FILES, save_scores
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles.request import COLUMNS, Request, check_columns, check_request
from contrastive_jax.evaluation.tiles.store import TILES
from contrastive_jax.graph.columns import hardest_and_easiest
from contrastive_jax.numerics import check_percentiles
from contrastive_jax.reporting.score_summary import (
    PRINTED,
    sample_names,
    summarise_rows,
    summarise_scores,
    summary_text,
)
from contrastive_jax.runs.workdir import check_outside_data_of
from contrastive_jax.runtime import cli, distributed, progress
from contrastive_jax.runtime.outputs import check_out

__all__ = ['run', 'run_rows']


def run(
    samples: Samples,
    options: Options,
    out: Path,
    *,
    overwrite: bool = False,
    more: Mapping[str, np.ndarray] | None = None,
    embedding_atlas: bool = False,
) -> dict:
    """Scores the samples, writes and draws everything, and returns the summary.

    Args:
      samples: the samples.
      options: how they are scored.
      out: folder to write to.
      overwrite: whether to replace the files of an earlier scoring.
      more: further columns to write, each `[m]`.
      embedding_atlas: whether to add map, neighbours and images to `scores.parquet`.

    Raises:
      UserError: a folder that cannot be written to or holds an earlier scoring, features without a
        direction, bands out of order, a single sample for `embedding_atlas`.
    """
    check_out(out, names=SCORE_FILES, overwrite=overwrite)
    if embedding_atlas and len(samples.features) < 2:
        raise UserError('--embedding_atlas: a single sample has no neighbours; give at least two')
    progress.say(f'scores: {len(samples.features)} {samples.source}')
    columns = score(samples, options, keep=out / TILES) | dict(more or {})
    summary = summarise_scores(samples, options, columns)
    view = _view(samples, options, columns, embedding_atlas)
    checksum = None if samples.images is None else summary['checksum']
    file = ScoreFile(columns, checksum, samples.index, samples.files)
    # Last of all, because it removes the files of an earlier scoring.
    save_scores(out, summary, file, tiles_of(samples, out / TILES), view)
    # Imported here, because matplotlib takes a second, and the errors above do not need it.
    from contrastive_jax.reporting import score_pictures

    score_pictures.write_pictures(out, samples, columns['score'], options)
    _print(out, summary, samples, columns['score'])
    return summary


def run_rows(samples: RowSamples, request: Request, out: Path, *, overwrite: bool = False) -> dict:
    """Scores rows of features in tiles, writes everything, and returns the summary.

    Finished tiles stay in a folder in `out` until all files are written, so that the same call goes
    on from them.

    Args:
      samples: the rows, the same in all processes.
      request: what to compute.
      out: folder to write to.
      overwrite: whether to replace the files of an earlier scoring, and its unfinished tiles.

    Raises:
      UserError: a folder that cannot be written to or holds an earlier scoring; see `score_rows`.
    """
    distributed.by_writer(lambda: check_out(out, names=SCORE_FILES, overwrite=overwrite))
    rows, labels = samples.rows, samples.labels
    progress.say(f'scores: {len(rows)} {rows.source}')
    try:
        check_request(request, len(rows), rows.width, labels)
    except UserError as error:
        # Functions of Python name an argument, and here it is a flag.
        raise UserError(f'--{str(error).removeprefix("--")}') from error
    scoring = score_rows(rows, request, labels, keep=out / TILES, overwrite=overwrite)
    summary = summarise_rows(samples, request, scoring)
    file = scored_file(samples, request, scoring)
    distributed.by_writer(lambda: save_scores(out, summary, file, [out / TILES]))
    _print(out, summary, samples.place, scoring.columns['score'])
    return summary


def _print(out: Path, summary: dict, samples: Samples | ScoreFile, scores: np.ndarray) -> None:
    """Prints the summary, the names of the hardest samples, and the files that are there."""
    hardest, _ = hardest_and_easiest(scores, np.arange(len(scores)), PRINTED)
    separator = ' ' if samples.files is None else '\n  '
    print(summary_text(summary, sample_names(samples, hardest), separator))
    print(f'written to {out}: {", ".join(name for name in SCORE_FILES if (out / name).exists())}')


def _view(samples: Samples, options: Options, columns: dict[str, np.ndarray], wanted: bool) -> Any:
    if not wanted:
        return None
    from contrastive_jax.reporting.embedding_atlas import view_columns

    return view_columns(samples, options, columns['verdict'])


def main(values: flags.FlagValues) -> None:
    """Runs with the flags of the command line."""
    _check_flags(values)
    out = Path(values.out or values.workdir)
    given: dict[str, Any] = {name: values[name].value for name in Options._fields}
    changed = {name: value for name, value in given.items() if value is not None}
    # The commands below check this again, but reading a run takes long.
    if values.columns:
        check_columns(values.columns)
    if values.workdir is not None:
        _check_run(Path(values.workdir), changed, dynamics=values.dynamics)
    distributed.by_writer(lambda: check_out(out, names=SCORE_FILES, overwrite=values.overwrite))
    why = _why_tiles(values)
    if values.features is not None:
        given_band = Options()._replace(**changed)
        _check_band(given_band)
        opened = distributed.by_all(lambda: _opened(values.features, values.labels))
        _check_inputs(values, out)
        why = why or why_tiles(opened.rows)
        if why:
            _check_tiles(values, why)
            request = _request(values, given_band, len(opened.classes) > 1)
            run_rows(opened, request, out, overwrite=values.overwrite)
            return
        if values.latent_classes == 'labels' and values.labels is None:
            raise UserError(
                '--latent_classes=labels: needs the labels; give --labels too, or k-means'
            )
        samples, options = from_files(values.features, values.labels), Options()
    else:
        check_outside_data_of([Path(values.workdir)], out)
        samples, options = from_run(Path(values.workdir), everything=bool(values['all'].value))
    options = options._replace(**changed)
    if why:
        _check_tiles(values, why)
        several = samples.labels is not None and len(np.unique(samples.labels)) > 1
        request = _request(values, options, several)
        run_rows(rows_of_samples(samples), request, out, overwrite=values.overwrite)
    else:
        more = dynamics_columns(Path(values.workdir), samples) if values.dynamics else None
        run(
            samples,
            options,
            out,
            overwrite=values.overwrite,
            more=more,
            embedding_atlas=values.embedding_atlas,
        )


def _check_flags(values: flags.FlagValues) -> None:
    """Raises UserError for flags that do not go together."""
    if (values.workdir is None) == (values.features is None):
        raise UserError('--workdir, --features: give one of them')
    if values.features is not None and values.out is None:
        raise UserError('--out: missing; with --features there is no workdir to write to')
    if values.dynamics and (values.workdir is None or values.landmarks or values.columns):
        raise UserError('--dynamics: goes with --workdir, without --landmarks and --columns')
    if values.embedding_atlas and (values.landmarks or values.columns):
        raise UserError('--embedding_atlas: goes without --landmarks and --columns')
    if values['all'].value and values.features is not None:
        raise UserError('--all: goes with --workdir; with --features all rows are scored')
    if values['all'].value and (values.landmarks is not None or values.columns):
        raise UserError(
            '--all: goes without --landmarks and --columns, since images trained on are scored '
            'among themselves'
        )
    cli.check_company(values, ('labels',), ('features',))
    cli.check_company(values, ('seed',), ('landmarks',))
    if values.features is None and jax.process_count() > 1:
        raise UserError('--workdir: a run is scored by one process; several take --features')


def _check_inputs(values: flags.FlagValues, out: Path) -> None:
    """Raises UserError for features that this scoring would replace, or keep from being read."""
    if out.exists() and Path(values.features).is_dir() and out.samefile(values.features):
        raise UserError(
            f'--out={str(out)!r}: is the folder of the features; with score files in it, the '
            'features could not be read again; give another --out'
        )
    for name in ('features', 'labels'):
        path = values[name].value
        if path is not None and any(
            (out / own).exists() and (out / own).samefile(path) for own in SCORE_FILES
        ):
            raise UserError(
                f'--{name}={path!r}: would be replaced by the scores in --out={str(out)!r}; give '
                'another --out'
            )


def _check_run(workdir: Path, changed: Mapping[str, Any], *, dynamics: bool) -> None:
    """Raises UserError for what the files of a run alone can tell."""
    # Imported here, because Flax and Orbax take a second, and features from elsewhere need neither.
    from contrastive_jax.runs.dynamics import read_dynamics
    from contrastive_jax.runs.weights import read_config

    pairs = read_config(workdir).pairs
    _check_band(Options(pairs.pos_high, pairs.pos_low)._replace(**changed))
    if dynamics:
        read_dynamics(workdir)


def _check_band(options: Options) -> None:
    try:
        check_percentiles(options.pos_high, options.pos_low)
    except ValueError as error:
        raise UserError(f'--{error}') from error


def _why_tiles(values: flags.FlagValues) -> str:
    """The flag because of which features are scored in tiles; empty if there is none."""
    if values.landmarks is not None:
        return '--landmarks is given'
    if values.columns:
        return '--columns is given'
    return 'several processes score them' if jax.process_count() > 1 else ''


def _check_tiles(values: flags.FlagValues, why: str) -> None:
    """Refuses what only a scoring in memory can do, and says what else is left out."""
    for name in ('embedding_atlas', 'latent_classes'):
        if values[name].value:
            raise UserError(
                f'--{name}: needs all features in memory, and these are scored in tiles, because '
                f'{why}'
            )
    progress.say(f'scored in tiles: without sas, verdicts and pictures, because {why}')


def _opened(features: str, labels: str | None) -> RowSamples:
    """Rows of features, with their labels and classes if there are any."""
    rows = open_rows(features)
    return RowSamples(rows, *(() if labels is None else read_labels(labels, len(rows))))


def _request(values: flags.FlagValues, options: Options, several_classes: bool) -> Request:
    margin = ('supervised_margin',) if several_classes else ()
    columns = tuple(values.columns or ('score', 'isolation', 'boundary', 'partner', *margin))
    return Request(options.pos_high, options.pos_low, values.landmarks, values.seed, columns)


def _main() -> None:
    with cli.processes():
        main(flags.FLAGS)


if __name__ == '__main__':
    cli.define_common(
        workdir='Trained run.',
        all='Also score the images that the run left out, and mark those that it trained on.',
        out='Folder to write to; the workdir by default.',
        overwrite='Replace the files of an earlier scoring.',
    )
    cli.define_features()
    flags.DEFINE_bool('dynamics', False, 'Add columns that say how the scores changed over time.')
    flags.DEFINE_bool(
        'embedding_atlas',
        False,
        'Add map, neighbours and images to scores.parquet, for the viewer Embedding Atlas.',
    )
    flags.DEFINE_integer(
        'landmarks',
        None,
        'Compare each sample with this many others, drawn once, instead of with all.',
    )
    flags.DEFINE_integer('seed', 0, 'Seed of the draw of landmarks.', 0, 2**31 - 1)
    flags.DEFINE_list('columns', None, f'Columns to compute, in tiles: {", ".join(COLUMNS)}.')
    for _name, _verb in (('pos_high', 'begins'), ('pos_low', 'ends')):
        flags.DEFINE_float(
            _name, None, f'The band {_verb} at this share, counted from the most similar pair down.'
        )
    flags.DEFINE_enum(
        'latent_classes',
        None,
        ['k-means', 'labels'],
        'Where the latent classes of the score sas come from; k-means by default.',
    )
    cli.define_processes()
    cli.run(_main)
