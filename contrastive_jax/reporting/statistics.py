"""Groups runs into cells of one config and several seeds, and compares the cells.

Seeds and epochs are grouped with pandas. Means and deviations are those of NumPy: pandas computes
them in another order, which would change their last digits.
"""

import difflib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from contrastive_jax.config import FIELDS, paths
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import Run, as_text

__all__ = [
    'ABSENT',
    'LEAST_PAIRS',
    'OWN',
    'Cell',
    'Difference',
    'Summary',
    'accuracy_resolution',
    'as_number',
    'by_seed',
    'common_baseline',
    'curves',
    'differing',
    'find_baselines',
    'group',
    'holm',
    'is_plain',
    'name_by_changes',
    'paired',
    'same_images',
    'summarise',
]

ABSENT, OWN = 'absent', 'one a seed'
# Values of `data.name` with which the folder or file is the data set.
_OWN_DATA = ('npz', 'folder')
# With another of these the same files give other images.
_READING = ('data.image_size', 'data.stream', 'data.skip_broken', 'data.max_pixels')
_NONE = as_text(None)
# An arm is a name for values of other fields, so cells are neither named nor ordered by it.
_DERIVED = ('arm',)
_PLAIN = {'pairs.select': 'none', 'removal.ratio': '0', 'mixed.ratio': '0'}
# What a treatment changes. All else is the setting, in which cells have to agree to be compared.
_TREATMENT = ('arm', 'pairs.', 'removal.', 'mixed.', 'loss.', 'equal_updates')
_SETTING = ('loss.temperature',)
_LEVEL = 0.95
LEAST_PAIRS = 3


class Cell(NamedTuple):
    """Runs that differ in nothing but the seed.

    Attributes:
      name: the fields in which cells differ, with the values of this cell.
      fields: all fields but the seed.
      runs: all runs of the cell, with any status.
      title: the name that a grid gives to the cell; empty if there is none.
    """

    name: str
    fields: dict[str, str]
    runs: tuple[Run, ...]
    title: str = ''


class Summary(NamedTuple):
    """Mean, standard deviation of a sample (None of a single value), and count."""

    mean: float
    std: float | None
    n: int


class Difference(NamedTuple):
    """A paired comparison.

    Attributes:
      mean: mean of the differences.
      interval: their 95 % t-interval, or None where there is none.
      n: number of differences.
      p: two-sided p-value of no difference, by the same t-distribution; None without interval.
    """

    mean: float
    interval: tuple[float, float] | None
    n: int
    p: float | None = None


def group(runs: Iterable[Run]) -> tuple[Cell, ...]:
    """The cells of all runs whose config is known, ordered by the values of their fields.

    If each seed has its own path, such as scores by an encoder of the same seed or the run that it
    extends, the path does not split a cell. If two seeds share a path, or one seed has two, the
    path is a setting like any other. Images of two folders or npz files are two cells, unless their
    checksums are equal. So are images of one folder with two checksums, where both were read in one
    way and not mixed. The folder in which TFDS keeps its data never splits a cell.
    """
    runs = _with_one_name(runs)
    # Not with pandas: a path is a key or not, depending on the group.
    alike = defaultdict(list)
    for run in runs:
        if run.seed is not None:
            alike[_key(_without_paths(run.config)), _paths_given(run.config)].append(run)
    members = defaultdict(list)
    fields = {}
    for some in alike.values():
        # Images of another folder are another data set, also where each seed has its own.
        own = {x: OWN for x in paths() if x != 'data.data_dir' and _follows_seed(some, x)}
        for run in some:
            config = _without_data_dir(run.config) | own
            fields[_key(config)] = config
            members[_key(config)].append(run)
    names = _telling(list(fields.values()))
    order = sorted(members, key=lambda key: [_rank(name, fields[key].get(name)) for name in names])
    return tuple(
        Cell(_name(fields[key], names), fields[key], tuple(members[key]), _title(members[key]))
        for key in order
    )


def _with_one_name(runs: Iterable[Run]) -> list[Run]:
    """The runs with one path for each data set of images of one's own, however it was given."""
    runs = list(runs)
    own = [run for run in runs if _has_own_images(run)]
    one_of = _joined(own)
    # In reverse, so that the first path of a place stays.
    written = {_place(run): run.config['data.data_dir'] for run in reversed(own)}
    first: dict[tuple, str] = {}

    def renamed(run: Run) -> Run:
        place, images = one_of[_place(run)], _images_read(run)
        name = written[place]
        # Other images may have come into a folder of the same name.
        how = place, *(run.config.get(field) for field in _READING)
        if images and first.setdefault(how, images) != images:
            name = f'{name}, images {images[:8]}'
        return run._replace(config=run.config | {'data.data_dir': name})

    return [renamed(run) if _has_own_images(run) else run for run in runs]


def _joined(runs: Sequence[Run]) -> dict[str, str]:
    """For the place of each run the first of the places that hold the same images."""
    one_of = {_place(run): _place(run) for run in runs}
    rank = {place: index for index, place in enumerate(one_of)}
    holding: dict[str, str] = {}
    for run in runs:
        if images := _images_read(run):
            other = holding.setdefault(images, _place(run))
            kept, joined = sorted((one_of[other], one_of[_place(run)]), key=rank.__getitem__)
            one_of = {place: kept if at == joined else at for place, at in one_of.items()}
    return one_of


def _has_own_images(run: Run) -> bool:
    return run.config.get('data.name') in _OWN_DATA and 'data.data_dir' in run.config


def _place(run: Run) -> str:
    return os.path.normpath(run.config['data.data_dir'])


def _images_read(run: Run) -> str:
    """Checksum of the images as they were read; empty where it is not known."""
    mixed = run.config.get('mixed.ratio', '0') != '0'
    dropped = run.config.get('mixed.drop') == as_text(True)
    # The one that a run has is of its images after mixing.
    return '' if mixed and not dropped else run.images


def _title(runs: Sequence[Run]) -> str:
    """The names of a cell in its grids; two cells of grids may be one cell of runs."""
    return ' = '.join(dict.fromkeys(name for run in runs for name in run.cells))


def differing(configs: Sequence[dict[str, str]]) -> list[str]:
    """The fields that are not equal in all configs, in the order of the table of fields."""
    names = {name for config in configs for name in config}
    order = {name: index for index, name in enumerate(FIELDS)}
    return sorted(
        (name for name in names if len({config.get(name) for config in configs}) > 1),
        key=lambda name: (order.get(name, len(order)), name),
    )


def _telling(configs: Sequence[dict[str, str]]) -> list[str]:
    return [name for name in differing(configs) if name not in _DERIVED]


def _key(config: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(config.items()))


def _paths_given(config: dict[str, str]) -> tuple[bool, ...]:
    """Which path fields hold a path: runs that begin anew are none of those that go on."""
    return tuple(config.get(name, _NONE) != _NONE for name in paths() if name != 'data.data_dir')


def _without_paths(config: dict[str, str]) -> dict[str, str]:
    of_files = paths()
    return {name: value for name, value in config.items() if name not in of_files}


def _without_data_dir(config: dict[str, str]) -> dict[str, str]:
    """The config without the folder of the data set, unless that names the data set itself."""
    if config.get('data.name') in _OWN_DATA:
        return config
    return {name: value for name, value in config.items() if name != 'data.data_dir'}


def _follows_seed(runs: Sequence[Run], field: str) -> bool:
    pairs = {(run.seed, run.config.get(field)) for run in runs}
    seeds, values = ({pair[side] for pair in pairs} for side in (0, 1))
    return len(seeds) == len(values) == len(pairs) > 1


def _rank(name: str, value: str | None) -> tuple[bool, float, str]:
    """Sorts defaults first, so that untreated cells come first, and numbers by size."""
    default = name in FIELDS and value == as_text(FIELDS[name].default)
    number = math.nan if value is None else as_number(value)
    return (not default, math.inf if math.isnan(number) else number, value or '')


def as_number(text: str) -> float:
    """The number that a text shows, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _name(fields: dict[str, str], names: Sequence[str]) -> str:
    return ', '.join(f'{name}={fields.get(name, ABSENT)}' for name in names) or 'all runs'


def name_by_changes(cells: Sequence[Cell], baselines: Sequence[int]) -> tuple[Cell, ...]:
    """The cells with short names: only the fields that differ from the common baseline."""
    if len(cells) == 1:
        return tuple(cells)
    baseline = common_baseline(baselines)
    base = cells[baseline].fields
    names = (
        _name(cell.fields, _telling([base, cell.fields])) if index != baseline else 'baseline'
        for index, cell in enumerate(cells)
    )
    return tuple(cell._replace(name=name) for cell, name in zip(cells, names, strict=True))


def find_baselines(cells: Sequence[Cell], wanted: str | None) -> list[int]:
    """Index of the cell that each cell is compared with.

    A cell is plain if it has no selected pairs and no removed or mixed samples. The common baseline
    is the first plain cell that has a finished run; or else the first plain cell; or else the first
    cell. A cell is compared with the first of these that exists, and with the common baseline where
    that is the cell itself.

    1. the first plain cell of its setting: equal in all fields that no treatment changes, such as
       data, batch, network and epochs;
    2. the first plain cell that is equal in all of them but `steps`;
    3. the common baseline.

    Args:
      cells: at least one cell.
      wanted: `field=value,...` of the cell that all are compared with; None for the above.

    Returns:
      An index for each cell. The common baseline has its own.

    Raises:
      UserError: a text that does not pick exactly one cell.
    """
    if wanted is not None:
        return [_wanted(cells, wanted)] * len(cells)
    plain = [index for index, cell in enumerate(cells) if is_plain(cell)]
    # Stable, so that the first of the cells with results comes first.
    plain.sort(key=lambda index: not any(run.result for run in cells[index].runs))
    common = plain[0] if plain else 0
    own: dict[tuple, int] = {}
    for index in plain:
        for setting in _settings(cells[index]):
            own.setdefault(setting, index)
    nearest = [
        next((own[setting] for setting in _settings(cell) if setting in own), common)
        for cell in cells
    ]
    return [common if index == at else at for index, at in enumerate(nearest)]


def is_plain(cell: Cell) -> bool:
    """Whether a cell has no selected pairs and no removed or mixed samples."""
    return all(cell.fields.get(name, ABSENT) == value for name, value in _PLAIN.items())


def same_images(cell: Cell, other: Cell) -> bool:
    """Whether two cells are of one data set, so that their accuracies can be subtracted."""
    one, two = (_without_data_dir(x.fields) for x in (cell, other))
    return all(one.get(name) == two.get(name) for name in ('data.name', 'data.data_dir'))


def common_baseline(baselines: Sequence[int]) -> int:
    """The cell that is compared with itself."""
    return next(index for index, at in enumerate(baselines) if index == at)


def _settings(cell: Cell) -> list[tuple[tuple[str, str], ...]]:
    """The fields of a cell that no treatment changes; then the same without the number of steps."""
    fields = {
        name: value
        for name, value in cell.fields.items()
        if name in _SETTING or not name.startswith(_TREATMENT)
    }
    loose = {name: value for name, value in fields.items() if name != 'steps'}
    return [_key(fields), _key(loose)]


def _wanted(cells: Sequence[Cell], wanted: str) -> int:
    values = dict(_parse(part, wanted, cells) for part in wanted.split(','))
    known = {name for cell in cells for name in cell.fields}
    for name in values.keys() - known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f'; the nearest is {near[0]}' if near else ''
        raise UserError(f'--baseline={wanted}: no run has a field {name!r}{hint}')
    matching = _matching(cells, values)
    if len(matching) != 1:
        listed = '; '.join(cells[index].name for index in matching or range(len(cells)))
        raise UserError(
            f'--baseline={wanted}: picks {len(matching)} cells, must pick one; '
            f'{"it fits" if matching else "there are"}: {listed}'
        )
    return matching[0]


def _matching(cells: Sequence[Cell], values: dict[str, str]) -> list[int]:
    return [
        index
        for index, cell in enumerate(cells)
        if all(cell.fields.get(name, ABSENT) == value for name, value in values.items())
    ]


def _parse(part: str, wanted: str, cells: Sequence[Cell]) -> tuple[str, str]:
    name, equals, value = part.strip().partition('=')
    if not equals:
        raise UserError(f'--baseline={wanted}: {part!r} is no field=value; separate them by commas')
    number = as_number(value)
    # In the format of the configs 0.10 and 1e-1 are 0.1; but a folder may be called 007.
    as_it_is = math.isnan(number) or any(cell.fields.get(name) == value for cell in cells)
    return name, value if as_it_is else as_text(number)


def by_seed(cell: Cell, name: str) -> dict[int, float]:
    """A numeric result of each seed that has it, the mean of all runs of the seed.

    Runs of one seed are not independent: on one machine, the same seed gives the same numbers.
    """
    seeds = [run.seed for run in cell.runs]
    numbers = pd.Series([run.number(name) for run in cell.runs], seeds, dtype=float).dropna()
    # The mean of the group itself sums in another order.
    return numbers.groupby(level=0).agg(lambda values: values.mean()).to_dict()


def curves(cell: Cell, name: str) -> tuple[list[int], np.ndarray]:
    """A curve of the finished runs of a cell over the epochs that all of them have.

    Returns:
      The epochs, and the values `[seeds, epochs]`, the mean of all runs of a seed.
    """
    runs = [run for run in cell.runs if run.status == 'finished' and name in run.curves]
    table = pd.DataFrame([run.curves[name] for run in runs], index=[run.seed for run in runs])
    means = table.dropna(axis='columns').sort_index(axis='columns').groupby(level=0).mean()
    return means.columns.tolist(), means.to_numpy()


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean, deviation and count; None of no values."""
    if not values:
        return None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), std, len(values))


def paired(
    values: dict[int, float], baseline: dict[int, float], resolution: float = 0.0
) -> Difference | None:
    """`values` less `baseline` over the seeds that both have; None if they share none.

    With s the standard deviation of the n differences and q the resolution, the interval is

        mean ± t_{n-1} sqrt((s^2 + q^2 / 6) / n)

    An accuracy is known to one test image, q = 1 / images. Rounding to multiples of q adds an error
    of variance `q^2 / 12`, and a difference has the errors of two accuracies. Without this term,
    differences that rounding makes nearly equal would give an interval that is far too short.

    There is no interval for fewer than three pairs or for equal differences, because both say
    nothing about how much another seed would differ.

    Args:
      values: by seed.
      baseline: by seed.
      resolution: q, in the unit of the values; 0 where it is not known.

    Returns:
      Mean of the n differences, their 95 % interval, n, and the two-sided p-value of no difference,
      in [0, 1]. Interval and p-value are None where there is no interval.
    """
    shared = sorted(values.keys() & baseline.keys())
    differences = [values[seed] - baseline[seed] for seed in shared]
    summary = summarise(differences)
    if summary is None:
        return None
    # Rounding makes equal differences unequal in their last digits.
    rounding = 1e-9 * max(abs(side[seed]) for side in (values, baseline) for seed in shared)
    if summary.std is None or summary.n < LEAST_PAIRS or np.ptp(differences) <= rounding:
        return Difference(summary.mean, None, summary.n)
    error = math.sqrt((summary.std**2 + resolution**2 / 6) / summary.n)
    reach = float(stdtrit(summary.n - 1, (1 + _LEVEL) / 2)) * error
    p = float(2 * stdtr(summary.n - 1, -abs(summary.mean) / error))
    return Difference(summary.mean, (summary.mean - reach, summary.mean + reach), summary.n, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number by the step-down method of Holm (1979).

        adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))

    for the i-th smallest of m. The chance that any true "no difference" has an adjusted value of
    at most 0.05 is at most 0.05, however the tests depend on each other.

    Returns:
      The adjusted values, each in [0, 1], in the order of `p_values`.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values, kind='stable')
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * values[order]))
    return adjusted.tolist()


def accuracy_resolution(cells: Iterable[Cell]) -> float:
    """One over the least number of test images of the finished runs; 0 where one is not known."""
    counts = [
        run.number('test_images') for cell in cells for run in cell.runs if run.status == 'finished'
    ]
    known = [count for count in counts if count]
    return 1 / min(known) if known and len(known) == len(counts) else 0.0
