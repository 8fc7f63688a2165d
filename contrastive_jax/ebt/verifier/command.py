"""Trains a verifier on the difficult pairs of a run, and measures what it adds to the cosine.

Axes: n images, k features.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.data.sources import Split
from contrastive_jax.data.stored import checksum
from contrastive_jax.ebt.verifier import comparison, infer
from contrastive_jax.ebt.verifier.encoding import Bank, TokenEncoder, make_bank
from contrastive_jax.ebt.verifier.fitting import FitOptions, Fitted, Kind, train_verifiers
from contrastive_jax.ebt.verifier.pairs import Pairs, band_pairs, band_ranks, thinned
from contrastive_jax.ebt.verifier.scores import energy_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.models.frozen import token_function
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.runs.loading import TrainedRun, load_run
from contrastive_jax.runs.workdir import check_outside_data_of
from contrastive_jax.runtime.files import write_arrays, write_json
from contrastive_jax.runtime.outputs import check_out
from contrastive_jax.training.task import task_of

__all__ = ['FILES', 'run']

FILES = (
    'energies.npz',
    'verify.json',
    'verify.png',
    'scores.npz',
    'scores.csv',
    'scores.parquet',
)
# The summary of another scoring would say how its scores were made.
_REPLACED = (*FILES, 'scores.json')
# Augmentations of each image, and steps of thinking.
_VIEWS, _THINKING = 4, 2
# Partners of an image that negatives are drawn from, and partners whose energies are written.
_DRAWN, _WRITTEN = 64, 16
# Anchors of the tables.
_ANCHORS = 256
# All verifiers are trained with the same steps, pairs and views. Their losses differ in L_opt only.
_VERIFIER = {comparison.SYSTEM_2: Kind('transformer', thinking=True)}
_CONTROLS = {
    'transformer without thinking': Kind('transformer', thinking=False),
    'bi-encoder': Kind('bi-encoder', thinking=False),
    'perceptron': Kind('perceptron', thinking=False),
}


class Prepared(NamedTuple):
    """A trained run and its encoded images.

    Attributes:
      run: the trained run.
      split: images that the pairs consist of.
      indices: `[n]` index of each image in the training split.
      features: `[n, k]` features of the images.
      encoder: frozen encoder of the run.
      bank: encodings of the images and of their augmentations.
      band: `pos_high` and `pos_low` of the run's difficult band.
    """

    run: TrainedRun
    split: Split
    indices: np.ndarray
    features: np.ndarray
    encoder: TokenEncoder
    bank: Bank
    band: dict[str, float]


def prepare(workdir: Path, seed: int, *, everything: bool = False) -> Prepared:
    """Reads a run and encodes the images that it was trained on, mixed as in the run.

    Args:
      workdir: folder of the run.
      seed: seed of the augmentations.
      everything: whether to include the images of the training split that the run left out.

    Raises:
      UserError: the folder holds no trained encoder.
    """
    trained = load_run(workdir)
    kind = task_of(trained.config).kind
    if kind != 'encoder':
        raise UserError(
            f'--workdir={workdir}: holds a {kind} ({trained.config.model.name}), but verifying '
            'pairs needs an encoder; give the folder of a contrastive run'
        )
    split, indices = trained.construction.chosen(everything)
    images = split.images
    features = extract_features(trained.encode, images)
    tokens = token_function(*trained.weights)
    encoder = TokenEncoder(tokens, jax.numpy.asarray(features.mean(axis=0)))
    band = {name: trained.config.pairs[name] for name in ('pos_high', 'pos_low')}
    key = device_key(KeyUse.VERIFIER_VIEWS, seed)
    bank = make_bank(encoder, images, trained.config.augment, key, views=_VIEWS)
    return Prepared(trained, split, indices, features, encoder, bank, band)


def run(
    workdir: Path,
    out: Path,
    *,
    steps: int,
    seed: int,
    neighbours: int = 0,
    controls: bool = True,
    everything: bool = False,
    overwrite: bool = False,
) -> dict:
    """Trains the verifiers, measures them, writes the files and returns the tables.

    Args:
      workdir: folder of the run.
      out: folder to write to.
      steps: number of training steps of each verifier.
      seed: seed of the training and of the augmentations. The anchors of the tables and the
        resamples of their intervals are the same for every seed.
      neighbours: number of nearest images from which positives are drawn, if they are mutual
        neighbours; 0 for another augmentation of the anchor.
      controls: whether to train the controls and make the tables; False writes only the scores.
      everything: whether to include the images that the run left out.
      overwrite: whether to replace the files of an earlier call.

    Returns:
      The content of `verify.json`.

    Raises:
      UserError: `out` cannot be written to or holds files of an earlier call, `workdir` holds no
        trained encoder, the band of a split is empty, or a number of the training is not finite.
    """
    check_out(out, names=_REPLACED, overwrite=overwrite)
    check_outside_data_of([workdir], out)
    prepared = prepare(workdir, seed, everything=everything)
    built, images = prepared.run.construction, prepared.split.images
    unit = np.asarray(prepared.bank.clean.unit)
    try:
        drawn = band_pairs(unit, np.arange(len(unit)), **prepared.band, count=_DRAWN)
    except ValueError as error:
        raise UserError(f'--workdir={workdir}: {error}') from error
    if controls:
        _check_test_band(workdir, prepared)
    temperature = prepared.run.config.loss.temperature

    verifiers = train_verifiers(
        prepared.encoder,
        images,
        unit,
        drawn,
        prepared.run.config.augment,
        _VERIFIER | _CONTROLS if controls else _VERIFIER,
        FitOptions(steps, seed, temperature, neighbours),
    )
    pairs = thinned(drawn, _WRITTEN)
    system_2 = verifiers[comparison.SYSTEM_2]
    columns, arrays = _energies(prepared, system_2, pairs, temperature)
    tables = _tables(prepared, verifiers, seed) if controls else {}
    summary = {
        'images': len(prepared.indices),
        'steps': steps,
        'seed': seed,
        'neighbours': neighbours,
        'all': everything,
        'controls': controls,
        **prepared.band,
        'temperature': temperature,
        'step_sizes_clipped': system_2.clipped,
        'losses': {name: fitted.losses for name, fitted in verifiers.items()},
        'cost_of_a_pair': infer.cost(system_2, prepared.bank.clean, _THINKING),
        **tables,
    }
    if everything:
        columns = {'trained': np.isin(prepared.indices, built.kept), **columns}
    scores = ScoreFile(
        columns, checksum(built.whole.images), prepared.indices, prepared.split.files
    )
    _write(out, scores, arrays, summary)
    return summary


def _write(out: Path, scores: ScoreFile, arrays: dict[str, np.ndarray], summary: dict) -> None:
    """Writes all files of a call, and deletes those of an earlier call."""
    out.mkdir(parents=True, exist_ok=True)
    for name in _REPLACED:
        (out / name).unlink(missing_ok=True)
    write_arrays(out / 'energies.npz', arrays)
    if 'class' in summary.get('train', {}):
        # Imported here, because matplotlib takes a second.
        from contrastive_jax.ebt.verifier import figures

        figures.overview(summary).savefig(out / 'verify.png', dpi=100)
    write_json(out / 'verify.json', summary)
    # Last, because a sweep takes this file as the sign that all are complete.
    write_scores(out / 'scores.npz', scores)


def _energies(
    prepared: Prepared, fitted: Fitted, pairs: Pairs, temperature: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores of all images, and the energies of the pairs that the scores come from."""
    clean, shape = prepared.bank.clean, pairs.partners.shape
    i, j = np.repeat(pairs.anchors, shape[1]), pairs.partners.ravel()
    energies = infer.pair_energies(fitted, clean, clean, i, j, steps=_THINKING)
    gain, motion = energies.gain[-1], energies.motion[-1]
    residual = energies.energy + pairs.cosine.ravel() / temperature
    # This is sigmoid(c - F), in a form that does not overflow for large energies.
    probability = np.exp(-np.logaddexp(0, energies.energy - float(fitted.params['offset'][...])))
    columns = energy_scores(
        prepared.features,
        *(x.reshape(shape) for x in (residual, probability, gain, motion)),
        pos_high=prepared.band['pos_high'],
        pos_low=prepared.band['pos_low'],
        temperature=temperature,
    )
    # In files, an image has its index in the training split.
    pair = {'i': prepared.indices[i], 'j': prepared.indices[j]}
    arrays = {**pair, 'cosine': pairs.cosine.ravel(), 'F': energies.energy}
    return columns, arrays | {f'G_{_THINKING}': gain, f'd_{_THINKING}': motion}


def _check_test_band(workdir: Path, prepared: Prepared) -> None:
    """Checks that the test images have pairs, which are taken after the training only."""
    try:
        band_ranks(len(prepared.run.dataset.test.images), **prepared.band)
    except ValueError as error:
        raise UserError(f'--workdir={workdir}: test split: {error}') from error


def _tables(prepared: Prepared, verifiers: dict[str, Fitted], seed: int) -> dict:
    """Tables of the training images, and of the test images.

    Weight and calibration of both come from the training images.
    """
    labels, test = prepared.split.labels, prepared.run.dataset.test
    train = comparison.make_split(prepared.bank, labels, _ANCHORS, prepared.band, _WRITTEN)
    weight, instances = comparison.choose_weight(train, verifiers[comparison.SYSTEM_2])
    tables = {'train': comparison.comparison_tables(train, verifiers, weight, instances, None)}
    key = device_key(KeyUse.VERIFIER_TEST_VIEWS, seed)
    augmentation = prepared.run.config.augment
    bank = make_bank(prepared.encoder, test.images, augmentation, key, views=_VIEWS)
    held_out = comparison.make_split(bank, test.labels, _ANCHORS, prepared.band, _WRITTEN)
    calibration = tables['train']['calibration']
    tables['test'] = comparison.comparison_tables(held_out, verifiers, weight, None, calibration)
    return tables
