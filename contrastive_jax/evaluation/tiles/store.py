"""Finished tiles of a scoring on disk, so that one that was stopped goes on where it was."""

import contextlib
import re
from pathlib import Path
from typing import TextIO

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.runtime import distributed
from contrastive_jax.runtime.files import read_arrays, read_json, write_arrays, write_json
from contrastive_jax.runtime.locks import take_lock

__all__ = ['TILES', 'TileStore']

# Name of the folder, in the folder that the scores go to.
TILES = 'scores.tiles'
_LOCK = 'lock'
_OWN = re.compile(rf'{_LOCK}|(manifest\.json|[a-z]+-\d{{12}}\.npz)(\..*\.part)?')
# Notes that macOS and network file systems leave.
_OF_SYSTEM = re.compile(r'\.DS_Store|\._.*|\.nfs.*')


class TileStore:
    """Columns of finished tiles, one npz file each, in a folder with what they belong to."""

    def __init__(self, folder: Path):
        """Uses `folder`, which `open` makes."""
        self._folder = folder
        # The lock file, while this store holds it.
        self._lock: TextIO | None = None

    def open(self, identity: dict, layout: dict, *, overwrite: bool) -> dict:
        """Prepares the folder.

        Args:
          identity: what the scores depend on; tiles of anything else are refused.
          layout: how the rows are cut into tiles.
          overwrite: whether to delete tiles of anything else.

        Returns:
          The layout of the tiles that are there, or `layout`.

        Raises:
          UserError: tiles of something else, and no `overwrite`; a folder that cannot be written,
            that another process is scoring into, or that holds anything but tiles.

        The folder belongs to this process until `release`, or until the process ends.
        """
        path = self._folder / 'manifest.json'

        def prepare() -> None:
            others = self._others()
            if others:
                raise UserError(
                    f'{self._folder}: holds {others[0]!r}, which no scoring has written; move it '
                    'away, or give another --out'
                )
            if not self._hold():
                raise UserError(
                    f'{self._folder}: another process is scoring into it; wait for it, or give '
                    'another --out'
                )
            known = self._manifest(path)
            if known is None or known.get('identity') != identity:
                if known is not None and not overwrite:
                    old = known.get('identity') or {}
                    differ = ', '.join(x for x in identity if old.get(x) != identity[x])
                    raise UserError(
                        f'{self._folder}: holds unfinished tiles of another scoring ({differ} '
                        'differ); replace them with --overwrite, or give another --out'
                    )
                self._clear()
                write_json(path, {'identity': identity, 'layout': layout})

        def prepare_or_say() -> None:
            # In the process that writes, so that the others hear of it.
            try:
                prepare()
            except UserError:
                self.release()
                raise
            except OSError as error:
                self.release()
                raise UserError(
                    f'{self._folder}: cannot be written ({error.strerror}); give another --out'
                ) from error

        distributed.by_writer(prepare_or_say)
        return read_json(path)['layout']

    def _hold(self) -> bool:
        """Makes the folder and locks it; returns whether no other process has it locked."""
        if self._lock is not None:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = take_lock(self._folder / _LOCK)
        except FileNotFoundError:
            # Whoever had it has deleted the folder in this instant.
            return False
        if lock.held is False:
            lock.file.close()
            return False
        self._lock = lock.file
        return True

    def release(self) -> None:
        """Lets other processes use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self, stage: str, start: int) -> dict[str, np.ndarray] | None:
        """Columns of the tile that begins at a row; None if it is not finished."""
        path = self._path(stage, start)
        if not path.exists():
            return None
        try:
            columns = read_arrays(path)
        except UserError:
            # A damaged tile is computed again.
            return None
        return columns if isinstance(columns, dict) else None

    def write(self, stage: str, start: int, columns: dict[str, np.ndarray]) -> None:
        """Keeps the columns of a tile."""
        write_arrays(self._path(stage, start), columns)

    def remove(self) -> None:
        """Deletes the tiles, and the folder if it holds nothing else, unless others use it."""
        if not self._folder.exists() or self._others() or not self._hold():
            return
        self._clear()
        # Closed before the folder goes, because NFS would keep an open file in it.
        (self._folder / _LOCK).unlink()
        self.release()
        # Another scoring may have come in this instant.
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _clear(self) -> None:
        """Deletes the tiles, the manifest and notes of systems."""
        for path in self._folder.iterdir():
            if path.name != _LOCK:
                path.unlink(missing_ok=True)

    def _others(self) -> list[str]:
        """What the folder holds beside tiles and the manifest, whole or in part."""
        entries = self._folder.iterdir() if self._folder.exists() else ()
        return [
            path.name
            for path in entries
            if not (_OWN.fullmatch(path.name) or _OF_SYSTEM.fullmatch(path.name))
        ]

    def _path(self, stage: str, start: int) -> Path:
        return self._folder / f'{stage}-{start:012d}.npz'

    def _manifest(self, path: Path) -> dict | None:
        try:
            return read_json(path)
        except FileNotFoundError:
            return None
        except UserError:
            return {}
