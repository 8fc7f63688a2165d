"""One score from those of several seeds, how far they agree, and which images a removal keeps.

    python -m contrastive_jax.score --workdir=RUN --columns=score,isolation,boundary --out=SEED
    python -m studies.mean_scores --scores SEED/scores.parquet ... --out mean.parquet \
      [--config configs/cifar.py:cpu --data_dir DIR]

The file has `score` and `boundary`, means over the seeds; `score_0` and so on, those of each seed,
rounded, in the order given; and `kept`: 1 for an image that stays when the share `--ratio` with the
highest mean score is left out. `config.removal.scores` takes it as it takes the files of `score`.

`index` counts in the order of this copy of the data. Copies differ: TFDS shuffles what it prepares.
So with `--config` a column `pixels` tells which image is meant: the first eight bytes of the
SHA-256 of its pixels, uint8 `[h, w, c]`, as a signed number with the lowest byte first. `pixel_key`
makes it, for images from anywhere.

Axes: s seeds, n images.
"""

import argparse
import hashlib
from itertools import combinations

import numpy as np
from scipy.stats import spearmanr

from contrastive_jax.data import sources
from contrastive_jax.data.score_table import read_table, write_table
from contrastive_jax.data.stored import checksum
from contrastive_jax.graph.subsets import most_difficult_removed
from studies.inputs import config_from
from studies.measures import spread
from studies.outputs import as_path, check_new, command

_MEANS = ('score', 'boundary')


def read_all(paths: list[str]) -> list[dict[str, np.ndarray]]:
    """Reads files of scores of the same images.

    Raises:
      SystemExit: a column is missing, or two files score different images.
    """
    others = [path for path in paths if not path.lower().endswith('.parquet')]
    if others:
        raise SystemExit(f'--scores={others[0]}: give the scores.parquet beside it')
    tables = [read_table(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        missing = [name for name in ('checksum', 'index', *_MEANS) if name not in table]
        if missing:
            raise SystemExit(
                f'--scores={path}: has no {", ".join(missing)}; give the scores.parquet of a run, '
                'scored with --columns=score,isolation,boundary or without --columns'
            )
        same = str(table['checksum']) == str(tables[0]['checksum'])
        if not same or not np.array_equal(table['index'], tables[0]['index']):
            raise SystemExit(
                f'--scores={path}: scores other images than {paths[0]}; give runs on the same data'
            )
    return tables


def mean_columns(tables: list[dict[str, np.ndarray]], ratio: float) -> dict[str, np.ndarray]:
    """The columns of the file that is written."""
    index = tables[0]['index'].astype(np.int32)
    columns = {name: np.mean([table[name] for table in tables], axis=0) for name in _MEANS}
    kept = np.zeros(len(index), np.int8)
    kept[most_difficult_removed(columns['score'], ratio)] = 1
    # Rounding to four decimals, a 330th of their deviation, saves three quarters of the space.
    own = {f'score_{seed}': table['score'].round(4) for seed, table in enumerate(tables)}
    means = {name: column.astype(np.float32) for name, column in columns.items()}
    return {'index': index, **means, **own, 'kept': kept}


def pixel_key(image: np.ndarray) -> int:
    """A number that tells an image from others by its pixels alone.

    Args:
      image: `[h, w, c]` uint8.
    """
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
    return int.from_bytes(digest[:8], 'little', signed=True)


def pixel_keys(config: str, data_dir: str | None, scored: dict[str, np.ndarray]) -> np.ndarray:
    """The key of each scored image.

    Raises:
      SystemExit: the data are other images.
    """
    images = sources.load(config_from(config, data_dir).data).train.images
    if checksum(images) != str(scored['checksum']):
        raise SystemExit(
            f'--config={config}: its images are not those that were scored; give the config and '
            '--data_dir of the runs'
        )
    return np.array([pixel_key(images[i]) for i in scored['index']], np.int64)


def agreement(tables: list[dict[str, np.ndarray]], name: str, ratio: float) -> dict[str, list]:
    """Spearman correlation of each two seeds, and the share of images that both leave out."""
    found: dict[str, list] = {'spearman': [], 'both leave out': []}
    for one, other in combinations([table[name] for table in tables], 2):
        found['spearman'].append(float(spearmanr(one, other).statistic))
        left_out = [
            np.setdiff1d(np.arange(len(one)), most_difficult_removed(values, ratio))
            for values in (one, other)
        ]
        found['both leave out'].append(len(np.intersect1d(*left_out)) / len(left_out[0]))
    return found


def main() -> None:
    """Parses the options, writes the file and prints the agreement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--scores', nargs='+', required=True, help='files that score has written')
    parser.add_argument('--out', type=as_path, required=True, help='Parquet file to write')
    parser.add_argument('--ratio', type=float, default=0.2, help='share that is left out')
    parser.add_argument('--config', help='config of the data, for the column pixels')
    parser.add_argument('--data_dir', help='its config.data.data_dir')
    options = parser.parse_args()
    if len(options.scores) < 2:
        raise SystemExit('--scores: give the files of two seeds or more')
    if not 0 < options.ratio < 1:
        raise SystemExit(f'--ratio={options.ratio}: must be above 0 and below 1')
    check_new(options.out)
    tables = read_all(options.scores)
    columns = mean_columns(tables, options.ratio)
    if columns['kept'].all():
        raise SystemExit(
            f'--ratio={options.ratio}: leaves out none of {len(columns["kept"])} images; give more'
        )
    if options.config:
        columns['pixels'] = pixel_keys(options.config, options.data_dir, tables[0])
    for name in _MEANS:
        for measure, values in agreement(tables, name, options.ratio).items():
            print(f'{name}, {measure}, each two of {len(tables)}: {spread(values)}')
    write_table(options.out, columns, str(tables[0]['checksum']), None)
    print(f'{len(columns["index"])} images, {columns["kept"].sum()} kept; written to {options.out}')


if __name__ == '__main__':
    command(main)
