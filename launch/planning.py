"""Plans the runs of a grid: every cell with every seed, each named by its config.

The name of a run is a hash of those fields of its config, arm resolved, that differ from the
default and change numbers. So a new field renames no run. Runs with a name of an earlier version
are recognised by the config in their folder.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from contrastive_jax.config import (
    FIELDS,
    WITHOUT_EFFECT,
    check_field,
    check_value,
    completed,
    flatten,
    paths,
    resolve,
    spelled_alike,
    validate,
)
from contrastive_jax.config.files import load_config
from contrastive_jax.config.shipped import config_file
from contrastive_jax.errors import UserError
from contrastive_jax.runs.names import CONFIG
from contrastive_jax.runs.workdir import check_outside_data
from contrastive_jax.runtime.files import read_json

from .cells import GridError, at_line, check_arm, check_extra, of_cell
from .grids import ScoresOf

__all__ = ['Run', 'file_beside', 'plan']

_NAME_DIGITS = 16


def file_beside(folder: Path, suffix: str) -> Path:
    """A file beside the folder of a run, named after it; names of folders may hold dots."""
    return folder.with_name(folder.name + suffix)


class Run(NamedTuple):
    """One training run, and the commands that score it.

    Attributes:
      cells: names of its cells; two cells may share one run.
      seed: its seed.
      folder: its workdir.
      commands: commands to execute one after the other.
      makes: for each command, the file that exists when it is done.
      needs: folder of the run that must be done before this one, or None.
    """

    cells: tuple[str, ...]
    seed: int
    folder: Path
    commands: tuple[tuple[str, ...], ...]
    makes: tuple[Path, ...]
    needs: Path | None

    @property
    def log(self) -> Path:
        """The file that its output goes to."""
        return file_beside(self.folder, '.log')

    @property
    def title(self) -> str:
        """A name for people: its cells and its seed."""
        return f'{" = ".join(self.cells)}, seed {self.seed}'

    def done(self) -> bool:
        """Whether all its commands are done."""
        return all(path.exists() for path in self.makes)

    def saved(self) -> frozenset[Path]:
        """What it has saved so far: checkpoints and finished files."""
        checkpoints = (self.folder / 'checkpoints').glob('*')
        made = (path for path in self.makes if path.exists())
        return frozenset([*(path for path in checkpoints if path.name.isdigit()), *made])


def plan(
    cells: Mapping[str, Mapping[str, Any]],
    config: str,
    seeds: Sequence[int],
    folder: Path,
    extra: Mapping[str, Any],
) -> list[Run]:
    """The runs of a grid; each run comes after the run that it needs.

    Args:
      cells: config fields by cell, as `cells_of` returns them.
      config: config file, with `:variant` if wanted.
      seeds: each cell is run with each of these seeds.
      folder: folder of the workdirs.
      extra: config fields that take precedence over those of the cells. The strength of a
        treatment sets only the cells whose arm has that treatment.

    Raises:
      GridError: the config cannot be read, or lacks a field that is set; the config of a cell is
        refused; `folder` is in the folder of its images; `extra` sets a field that the cells vary,
        or changes the arm of a cell.
    """
    check_extra(cells, extra)
    base = _load(config)
    scored = {
        value
        for fields in cells.values()
        for value in fields.values()
        if isinstance(value, ScoresOf)
    }
    renamed = _runs_under_other_names(folder)
    runs: dict[Path, Run] = {}
    for seed in seeds:
        names: dict[str, str] = {}
        folders: dict[str, Path] = {}
        by = {cell: sorted(s.by for s in scored if s.cell == cell) for cell in cells}
        for cell in sorted(cells, key=lambda cell: not by[cell]):
            fields = {**cells[cell], **of_cell(cells[cell], extra), 'seed': seed}
            wanted = {p: v for p, v in fields.items() if isinstance(v, ScoresOf)}
            sources = {p: str(_scores_folder(names[v.cell], v.by)) for p, v in wanted.items()}
            values = _values(base, cell, fields | sources, folder)
            check_arm(cell, fields, values, extra)
            names[cell] = name = _name(values)
            own = folder / name
            folders[cell] = own if own.exists() else renamed.get(name, own)
            fields |= {
                p: str(_scores_folder(folders[v.cell], v.by) / 'scores.npz')
                for p, v in wanted.items()
            }
            fields = _spelled_as_begun(folders[cell], fields)
            run = _run(cell, seed, folders[cell], config, fields, by[cell])
            if wanted:
                run = run._replace(needs=folders[next(iter(wanted.values())).cell])
            same = runs.get(run.folder)
            runs[run.folder] = run if same is None else same._replace(cells=(*same.cells, cell))
    return list(runs.values())


def _load(config: str) -> ConfigDict:
    try:
        return load_config(config)
    except Exception as error:  # The file is a program, and may fail in every way.
        reason = ' '.join(str(error).split()) or type(error).__name__
        place = at_line(error, config_file(config).partition(':')[0])
        raise GridError(f'--config={config}{place}: cannot be read ({reason})') from error


def _values(base: ConfigDict, cell: str, fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The config of a run by paths, resolved and checked as `main` will do it."""
    config = base.copy_and_resolve_references()
    try:
        for path, value in fields.items():
            check_field(path)
            check_value(path, value)
        config.update_from_flattened_dict(fields)
        resolved, _ = resolve(config, fields)
        validate(resolved)
        check_outside_data(folder, '--runs', resolved.data)
        return flatten(resolved)
    except (KeyError, TypeError) as error:
        raise GridError(f'config: {error.args[0]}') from error
    except UserError as error:
        raise GridError(f'cell {cell!r}: {error}') from error


def _spelled_as_begun(workdir: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, with each path spelled as in the config of the run, if that leads to the same.

    `main` compares configs as texts, and another spelling would keep the run from going on.
    """
    stored = {}
    # `main` reports configs that cannot be read.
    with contextlib.suppress(OSError, UserError):
        stored = flatten(read_json(workdir / CONFIG))
    texts = {p: stored[p] for p in paths() if isinstance(stored.get(p), str)}
    return {
        path: texts[path]
        if path in texts and os.path.realpath(texts[path]) == os.path.realpath(str(value))
        else value
        for path, value in fields.items()
    }


def _name(values: Mapping[str, Any]) -> str:
    """Hash of a config, in which scores are named by their run and not by their path."""
    # The arm is left out, because the fields of `pairs` hold the same.
    changed = {
        path: value
        for path, value in spelled_alike(values).items()
        if path not in {'arm', *WITHOUT_EFFECT}
        and (path not in FIELDS or value != FIELDS[path].default)
    }
    text = json.dumps(changed, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_NAME_DIGITS]


def _runs_under_other_names(folder: Path) -> dict[str, Path]:
    """Workdirs whose folder has another name than their config gives, by that name."""
    configs = {}
    for path in sorted(folder.glob('*/config.json')):
        # `main` reports configs that cannot be read.
        with contextlib.suppress(OSError, UserError):
            configs[path.parent.name] = completed(read_json(path))
    names = {name: _name(values) for name, values in configs.items()}
    for name, values in configs.items():
        parts = ('', '', *Path(str(values['removal.scores'])).parts)
        scored, by = (parts[-3], 'verify') if parts[-2] == 'verify' else (parts[-2], 'score')
        if parts[-1] == 'scores.npz' and scored in configs:
            source = str(_scores_folder(_name(configs[scored]), by))
            names[name] = _name(values | {'removal.scores': source})
    return {new: folder / old for old, new in names.items() if new != old}


def _scores_folder(workdir: str | Path, by: str) -> Path:
    """The folder that a command which scores a run writes to."""
    return Path(workdir) / 'verify' if by == 'verify' else Path(workdir)


def _run(cell, seed, workdir, config, fields, scored_by: Sequence[str]) -> Run:
    """One run of a cell. All fields are given as flags, also those equal to the config's own."""
    flags = [f'--config.{path}={value}' for path, value in fields.items()]
    start = (sys.executable, '-m')
    train = (
        *start,
        'contrastive_jax.main',
        f'--config={config}',
        f'--workdir={workdir}',
        f'--shared={workdir.parent / "shared"}',
        *flags,
    )
    # `studies.verifier` takes only what was verified with the seed of the run.
    seeds = {'verify': (f'--seed={seed}',)}
    scoring = (
        # A scoring that was interrupted has left a part of its files.
        (*start, f'contrastive_jax.{by}', f'--workdir={workdir}', *seeds.get(by, ()), '--overwrite')
        for by in scored_by
    )
    scores = (_scores_folder(workdir, by) / 'scores.npz' for by in scored_by)
    makes = (workdir / 'result.json', *scores)
    return Run((cell,), seed, workdir, (train, *scoring), makes, None)
