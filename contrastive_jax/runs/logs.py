"""The log of a run, `metrics.jsonl`; what is written there also goes to a logger."""

import hashlib
import json
import os
from pathlib import Path

from contrastive_jax.errors import UserError
from contrastive_jax.runs.loggers import open_logger
from contrastive_jax.runs.names import METRICS, TENSORBOARD
from contrastive_jax.runtime.files import plain, write_bytes

__all__ = [
    'MetricsLog',
    'check_log',
    'checksum_of_steps',
    'first_lines',
    'logged_pace',
    'logged_steps',
]


def logged_steps(workdir: Path) -> int:
    """Number of lines in the log, one for each step from the first."""
    return len(_lines(workdir))


def check_log(workdir: Path, most: int | float) -> None:
    """Raises UserError if a run without a checkpoint has logged more than `most` steps."""
    if (logged := logged_steps(workdir)) > most:
        raise UserError(
            f'{workdir}: {logged} steps are logged, and there is no checkpoint; restore the folder '
            'from a copy, or begin again in another --workdir'
        )


def logged_pace(workdir: Path) -> float | None:
    """Images trained on in a second, by the last line of the log; None if it holds no number."""
    try:
        return json.loads(_lines(workdir)[-1])['pairs_per_second']
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def checksum_of_steps(workdir: Path, steps: int) -> str:
    """SHA-256 of the first `steps` lines of the log, or of all lines if there are fewer."""
    return hashlib.sha256(first_lines(workdir, steps)).hexdigest()


def first_lines(workdir: Path, steps: int) -> bytes:
    """The lines of the first `steps` steps of the log, or all lines if there are fewer."""
    return b''.join(_lines(workdir)[:steps])


def _lines(workdir: Path) -> list[bytes]:
    path = workdir / METRICS
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


class MetricsLog:
    """Writes the numbers of each step as one JSON line, and passes them to a logger.

    The training thread writes the file, so a full disk raises in the run.
    """

    def __init__(self, workdir: Path, start: int, logger: str = TENSORBOARD):
        """Opens the log of a run that starts or resumes after step `start`.

        Lines of later steps are dropped, because the resumed run takes these steps again.

        Args:
          workdir: folder of the run.
          start: number of finished steps.
          logger: one of `runs.names.LOGGERS`.

        Raises:
          UserError: the logger cannot begin.
        """
        self._logger = open_logger(logger, workdir, start, logged_steps(workdir))
        kept = first_lines(workdir, start)
        write_bytes(workdir / METRICS, kept)
        self._file = (workdir / METRICS).open('ab')
        self._digest = hashlib.sha256(kept)

    def write(self, step: int, epoch: int, metrics: dict[str, float | None]) -> None:
        """Appends the numbers of one step to buffers, which `flush` empties."""
        entry = plain({'step': step, 'epoch': epoch, **metrics})
        line = (json.dumps(entry, allow_nan=False) + '\n').encode()
        self._file.write(line)
        self._digest.update(line)
        self._logger.write(step, {n: value for n, value in metrics.items() if value is not None})

    def flush(self) -> None:
        """Hands everything to the operating system."""
        self._file.flush()
        self._logger.flush()

    def checksum(self) -> str:
        """Waits until the log is on disk; returns the `checksum_of_steps` of all its lines."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def close(self) -> None:
        """Closes the file and the logger."""
        try:
            self._file.close()
        finally:
            self._logger.close()
