"""What a run writes while it trains: `metrics.jsonl` and TensorBoard events."""

import json
import math
from pathlib import Path

from tensorboardX import SummaryWriter

__all__ = ['MetricsLog', 'write_json']


def write_json(path: Path, content: dict) -> None:
    """Writes a file as a whole or not at all; numbers that are not finite become null."""
    part = path.with_name(path.name + '.part')
    part.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + '\n')
    part.replace(path)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class MetricsLog:
    """One JSON object a line, and the same numbers as TensorBoard scalars."""

    def __init__(self, workdir: Path, start: int):
        """Opens the log of a run that goes on at step `start`.

        Lines of later steps, written after the checkpoint that the run resumes from, are dropped:
        the steps come again.
        """
        path = workdir / 'metrics.jsonl'
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)[:start]
            part = path.with_name(path.name + '.part')
            part.write_text(''.join(lines))
            part.replace(path)
        self._file = path.open('a')
        self._board = SummaryWriter(str(workdir), purge_step=start)

    def write(self, step: int, epoch: int, metrics: dict[str, float | None]) -> None:
        """Appends the numbers of one step; they are on disk after `flush`."""
        line = _plain({'step': step, 'epoch': epoch, **metrics})
        self._file.write(json.dumps(line, allow_nan=False) + '\n')
        for name, value in metrics.items():
            if value is not None:
                self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hands everything to the operating system."""
        self._file.flush()
        self._board.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._file.close()
        self._board.close()
