"""Writes the metrics of the steps to the log, about once a second.

Axes: u updates of a run.
"""

import time

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from contrastive_jax.runs.logs import MetricsLog

__all__ = ['Recorder']

# Seconds after which metrics are fetched from the device and written again.
_LOG_SECONDS = 1.0
# The metric of the monitor that the progress bar shows.
_KNN = 'monitor/knn'


class Recorder:
    """Collects metrics on the device and writes them about once a second, so that no step waits.

    Without a log it only measures the pace.
    """

    def __init__(
        self,
        log: MetricsLog | None,
        batch_size: int,
        steps_per_epoch: int,
        learning_rates: Float[np.ndarray, ' u'],
    ):
        """Stores the log and the numbers that turn a step into epoch, pace and learning rate.

        Args:
          log: log of the run; None in processes that write nothing.
          batch_size: images in a step.
          steps_per_epoch: steps in one pass over the images.
          learning_rates: `[u]` that of each update.
        """
        self._log = log
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._learning_rates = learning_rates
        self._pending: list[tuple[int, dict]] = []
        # The first step compiles, so the clock starts when it has finished.
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)
        self._knn: float | None = None
        self._loss = float('nan')

    def add(self, step: int, metrics: dict, bar: tqdm) -> None:
        """Takes the metrics of a step. About once a second, writes those of the steps before it."""
        self._pending.append((step, metrics))
        if self._first is None:
            jax.block_until_ready(metrics)
            self._first = self._last = (step, time.perf_counter())
        elif time.perf_counter() - self._last[1] > _LOG_SECONDS:
            self._write(self._pending[:-1])
            epoch = (step - 1) // self._steps_per_epoch + 1
            epochs = -(-len(self._learning_rates) // self._steps_per_epoch)
            pace = f'{self.pairs_per_second or 0:.0f} pairs/s'
            knn = '' if self._knn is None else f', knn {100 * self._knn:.1f}'
            bar.set_postfix_str(f'epoch {epoch} of {epochs}, loss {self._loss:.3f}{knn}, {pace}')

    def write_all(self) -> None:
        """Waits for all steps to finish, and writes their metrics."""
        self._write(self._pending)

    def close(self) -> None:
        """Writes the remaining metrics, and closes the log."""
        self.write_all()
        if self._log:
            self._log.close()

    @property
    def pairs_per_second(self) -> float | None:
        """Images per second since the first step; None until a second step has finished."""
        if self._first is None or self._last[0] == self._first[0]:
            return None
        (first, began), (last, ended) = self._first, self._last
        return (last - first) * self._batch_size / (ended - began)

    def _write(self, entries: list[tuple[int, dict]]) -> None:
        """Waits for these steps to finish, and writes their metrics."""
        fetched = jax.device_get([metrics for _, metrics in entries])
        if entries:
            self._last = (entries[-1][0], time.perf_counter())
        for (step, _), metrics in zip(entries, fetched, strict=True):
            numbers: dict[str, float | None] = {
                name: float(value) for name, value in metrics.items()
            }
            self._loss = float(metrics['loss'])
            self._knn = numbers.get(_KNN, self._knn)
            # Some steps may have made no update.
            updates = step - int(metrics.get('skipped_updates', 0))
            numbers['learning_rate'] = float(self._learning_rates[max(updates - 1, 0)])
            numbers['pairs_per_second'] = self.pairs_per_second
            if self._log:
                self._log.write(step, (step - 1) // self._steps_per_epoch, numbers)
        if self._log:
            self._log.flush()
        del self._pending[: len(entries)]
