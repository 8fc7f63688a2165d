"""Looks again at the difficult pairs of a run, and writes what a verifier adds to their cosine."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.data.sources import Split
from contrastive_jax.data.stored import checksum
from contrastive_jax.ebt.verifier import compare, infer
from contrastive_jax.ebt.verifier.encoding import Bank, Encoder, make_bank
from contrastive_jax.ebt.verifier.fit import Fitted, Kind, Options, fit
from contrastive_jax.ebt.verifier.pairs import Pairs, band_pairs, thinned
from contrastive_jax.ebt.verifier.scores import energy_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.features import extract_features, token_function
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.runs.loading import TrainedRun, load_run
from contrastive_jax.runtime.files import write_json, write_whole
from contrastive_jax.runtime.outputs import check_out
from contrastive_jax.training.task import task_of

__all__ = ['FILES', 'run']

FILES = ('energies.npz', 'verify.json', 'verify.png', 'scores.npz', 'scores.csv')
_VIEWS = 4
_THINKING = 2
# Partners of an image: to draw negatives from, and those whose energies are written.
_DRAWN, _WRITTEN = 64, 16
_ANCHORS = 256
# Every one has the same steps, pairs, views and terms but L_opt.
_VERIFIER = {compare.SYSTEM_2: Kind('transformer', thinking=True)}
_CONTROLS = {
    'transformer without thinking': Kind('transformer', thinking=False),
    'bi-encoder': Kind('bi-encoder', thinking=False),
    'perceptron': Kind('perceptron', thinking=False),
}


class Prepared(NamedTuple):
    """A run, encoded.

    Attributes:
      run: as it was trained.
      split: the images that pairs are made of.
      index: `[n]` place of each of them in the training split.
      features: `[n, k]` of them.
      encoder: frozen.
      bank: of them.
      band: percentiles of its difficult band, from the most similar image down.
    """

    run: TrainedRun
    split: Split
    index: np.ndarray
    features: np.ndarray
    encoder: Encoder
    bank: Bank
    band: dict


def prepare(workdir: Path, seed: int, *, everything: bool = False) -> Prepared:
    """Reads a run and encodes the images that it was trained on, mixed as it mixed them.

    Args:
      workdir: of the run.
      seed: of the views.
      everything: also take the images of the training split that the run left out.

    Raises:
      UserError: a folder without a trained encoder, or an empty band.
    """
    trained = load_run(workdir)
    kind = task_of(trained.config).kind
    if kind != 'encoder':
        raise UserError(
            f'--workdir={workdir}: holds a {kind} ({trained.config.model.name}), and pairs are '
            'verified on an encoder; give the folder of a contrastive run'
        )
    built = trained.construction
    split = built.whole if everything else built.split
    index = np.arange(len(built.whole.images)) if everything else built.kept
    images = split.images
    features = extract_features(trained.encode, images)
    tokens = token_function(*trained.weights)
    encoder = Encoder(tokens, jax.numpy.asarray(features.mean(axis=0)))
    band = {name: trained.config.pairs[name] for name in ('pos_high', 'pos_low')}
    key = device_key(KeyUse.VERIFIER_VIEWS, seed)
    bank = make_bank(encoder, images, trained.config.augment, key, views=_VIEWS)
    return Prepared(trained, split, index, features, encoder, bank, band)


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
    """Trains the verifier, measures and writes everything, and returns the tables.

    Args:
      workdir: of the run.
      out: folder to write to.
      steps: of training, of each verifier.
      seed: of all draws.
      neighbours: a positive is one of so many nearest images, if that is mutual; 0 for another
        augmentation of the anchor itself.
      controls: whether to train the controls and to measure; otherwise only scores are made.
      everything: also take the images that the run left out.
      overwrite: whether to replace the files of an earlier call.

    Raises:
      UserError: a folder that cannot be written to or holds files of an earlier call, a folder
        without a trained encoder, an empty band, numbers that are not finite.
    """
    check_out(out, names=FILES, overwrite=overwrite)
    prepared = prepare(workdir, seed, everything=everything)
    built, images = prepared.run.construction, prepared.split.images
    unit = np.asarray(prepared.bank.clean.unit)
    try:
        drawn = band_pairs(unit, np.arange(len(unit)), **prepared.band, count=_DRAWN)
    except ValueError as error:
        raise UserError(f'--workdir={workdir}: {error}') from error
    temperature = prepared.run.config.loss.temperature

    verifiers = fit(
        prepared.encoder,
        images,
        unit,
        drawn,
        prepared.run.config.augment,
        _VERIFIER | _CONTROLS if controls else _VERIFIER,
        Options(steps, seed, temperature, neighbours),
    )
    pairs = thinned(drawn, _WRITTEN)
    columns, arrays = _energies(prepared, verifiers[compare.SYSTEM_2], pairs, temperature)
    tables = _tables(prepared, verifiers, seed) if controls else {}
    summary = {
        'images': len(prepared.index),
        'steps': steps,
        'seed': seed,
        'neighbours': neighbours,
        **prepared.band,
        'temperature': temperature,
        'step_sizes_clipped': verifiers[compare.SYSTEM_2].clipped,
        'losses': {name: fitted.losses for name, fitted in verifiers.items()},
        'cost_of_a_pair': infer.cost(verifiers[compare.SYSTEM_2], prepared.bank.clean, _THINKING),
        **tables,
    }
    if everything:
        columns = {'trained': np.isin(prepared.index, built.kept), **columns}
    scores = ScoreFile(columns, checksum(built.whole.images), prepared.index, prepared.split.files)
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        # A picture that is not drawn this time would speak of other energies.
        (out / name).unlink(missing_ok=True)
    # First what a sweep waits for: told to go on, it would be refused by the files beside it.
    write_scores(out / 'scores.npz', scores)
    write_whole(out / 'energies.npz', lambda file: np.savez(file, **arrays))
    if controls and 'class' in tables['train']:
        # Imported here, for it takes a second.
        from contrastive_jax.ebt.verifier import figures

        figures.overview(summary).savefig(out / 'verify.png', dpi=100)
    # Last: with it, everything is there.
    write_json(out / 'verify.json', summary)
    return summary


def _energies(
    prepared: Prepared, fitted: Fitted, pairs: Pairs, temperature: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores of all images, and the energies of their pairs that they come from."""
    clean, shape = prepared.bank.clean, pairs.partners.shape
    i, j = np.repeat(pairs.anchors, shape[1]), pairs.partners.ravel()
    found = infer.pair_energies(fitted, clean, clean, i, j, steps=_THINKING)
    gain, motion = found.gain[-1], found.motion[-1]
    residual = found.energy + pairs.cosine.ravel() / temperature
    # sigmoid(c - F), written so that no large energy overflows.
    probability = np.exp(-np.logaddexp(0, found.energy - float(fitted.params['offset'][...])))
    columns = energy_scores(
        prepared.features,
        *(x.reshape(shape) for x in (residual, probability, gain, motion)),
        **prepared.band,
        temperature=temperature,
    )
    # In files an image has its place in the training split.
    pair = {'i': prepared.index[i], 'j': prepared.index[j]}
    arrays = {**pair, 'cosine': pairs.cosine.ravel(), 'F': found.energy}
    return columns, arrays | {f'G_{_THINKING}': gain, f'd_{_THINKING}': motion}


def _tables(prepared: Prepared, verifiers: dict[str, Fitted], seed: int) -> dict:
    """On the images trained on; and on test images, with all that was chosen on the others."""
    labels, test = prepared.split.labels, prepared.run.dataset.test
    train = compare.make_split(prepared.bank, labels, _ANCHORS, prepared.band, _WRITTEN)
    weight, instances = compare.choose_weight(train, verifiers[compare.SYSTEM_2])
    tables = {'train': compare.compare(train, verifiers, weight, instances, None)}
    key = device_key(KeyUse.VERIFIER_TEST_VIEWS, seed)
    augmentation = prepared.run.config.augment
    bank = make_bank(prepared.encoder, test.images, augmentation, key, views=_VIEWS)
    held_out = compare.make_split(bank, test.labels, _ANCHORS, prepared.band, _WRITTEN)
    calibration = tables['train']['calibration']
    tables['test'] = compare.compare(held_out, verifiers, weight, None, calibration)
    return tables
