"""Where a run shows its curves: TensorBoard, Weights & Biases or Trackio."""

import importlib
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from absl import logging
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from contrastive_jax.errors import UserError
from contrastive_jax.runs.names import CONFIG, TENSORBOARD
from contrastive_jax.runtime.files import read_json, write_json

__all__ = ['Logger', 'check_logger', 'open_logger']

_PROJECT = 'contrastive_jax'
# Modes in which Weights & Biases asks for no key.
_WITHOUT_KEY = ('offline', 'dryrun', 'disabled')


@runtime_checkable
class Logger(Protocol):
    """Shows the numbers of one run. Only process 0 has one."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Takes the numbers of one step."""

    def flush(self) -> None:
        """Hands everything to the operating system, if nothing else does so."""

    def close(self) -> None:
        """Waits until everything is written or sent."""


def check_logger(name: str) -> None:
    """Checks a logger before any work is done.

    Args:
      name: one of `runs.names.LOGGERS`.

    Raises:
      UserError: its library is not installed, or Weights & Biases has no key and is not offline.
    """
    if name == TENSORBOARD:
        return
    library = _library(name)
    if name != 'wandb':
        return
    try:
        online = library.setup().settings.mode not in _WITHOUT_KEY
        ready = not online or library.login(prompt=False, verify=False)
    except Exception as error:  # A key that is none, or damaged settings.
        raise UserError(f'--log=wandb: {_first_line(error)}; see `wandb login`') from error
    if not ready:
        raise UserError(
            '--log=wandb: there is no key; run `wandb login`, set WANDB_API_KEY, or set '
            'WANDB_MODE=offline to keep the curves in the workdir'
        )


def open_logger(name: str, workdir: Path, start: int, logged: int) -> Logger:
    """Opens the logger of a run; a resumed run goes on where it was shown before.

    Args:
      name: one of `runs.names.LOGGERS`.
      workdir: folder of the run.
      start: number of finished steps.
      logged: number of steps that the run has logged so far. After a checkpoint that is older than
        the end of the log, this is more than `start`.

    Returns:
      The logger, which its caller closes.

    Raises:
      UserError: the library is not installed, or cannot begin.
    """
    if name == TENSORBOARD:
        return _TensorBoard(workdir, start)
    library, (identity, sent) = _library(name), _kept(workdir / f'{name}.json', logged)
    try:
        run = {'wandb': _wandb_run, 'trackio': _trackio_run}[name](library, workdir, identity)
    except Exception as error:  # Of the network, the key, the settings, the disk.
        raise UserError(
            f'--log={name}: cannot begin ({_first_line(error)}); mend that, or leave --log out'
        ) from error
    return _Remote(name, run.log, library.finish, sent)


class _TensorBoard:
    """Writes event files, in the training thread, so that a full disk raises in the run.

    `SummaryWriter` of tensorboardX writes events in a thread of its own, whose errors do not reach
    the run.
    """

    def __init__(self, workdir: Path, start: int):
        # Without the suffix, a run that resumes within a second would overwrite the earlier events.
        self._events = EventsWriter(str(workdir / 'events'), f'.{os.getpid()}')
        # TensorBoard then drops earlier events of the steps that are taken again, from `start + 1`.
        restart = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(wall_time=time.time(), step=start + 1, session_log=restart))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._events.write_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        )

    def flush(self) -> None:
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class _Remote:
    """Passes numbers to a run of a library that sends them in the background.

    The library's failure stops no training: `metrics.jsonl` holds the same numbers.
    """

    def __init__(self, name: str, log: Callable, finish: Callable, sent: int):
        """Stores the functions of the run, and the number of steps that it has had before."""
        self._name, self._log, self._finish, self._sent = name, log, finish, sent
        self._failed = False

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        # Weights & Biases refuses earlier steps, and Trackio shows them twice.
        if step > self._sent:
            self._try(lambda: self._log(dict(numbers), step=step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._try(self._finish)

    def _try(self, action: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            logging.warning(
                '--log=%s: takes no more numbers (%s); metrics.jsonl holds all of them',
                self._name,
                _first_line(error),
            )
            self._failed = True


def _wandb_run(wandb: Any, workdir: Path, identity: str) -> Any:
    return wandb.init(
        project=os.environ.get('WANDB_PROJECT', _PROJECT),
        dir=str(workdir),
        id=identity,
        name=workdir.resolve().name,
        resume='allow',
        config=read_json(workdir / CONFIG),
        # Fields that change no number may differ when a run resumes.
        allow_val_change=True,
        # Otherwise it takes over the output, with the progress bar.
        settings=wandb.Settings(console='off'),
    )


def _trackio_run(trackio: Any, workdir: Path, identity: str) -> Any:
    # It resumes by name, so the name has to be the run's alone.
    name = f'{workdir.resolve().name}-{identity}'
    config = read_json(workdir / CONFIG)
    return trackio.init(project=_PROJECT, name=name, config=config, resume='allow', embed=False)


def _kept(path: Path, logged: int) -> tuple[str, int]:
    """The identity of the run at a logger, kept in the workdir, and the number of steps sent.

    It is random, so that a run that begins again in an emptied folder is another run, and kept in
    the folder, so that a folder that was moved is the same run.
    """
    try:
        kept = read_json(path)
        kept = {'id': str(kept['id']), 'steps': max(int(kept['steps']), logged)}
    except FileNotFoundError:
        kept = {'id': uuid.uuid4().hex[:8], 'steps': 0}
    except (UserError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}: damaged; delete it, and the curves begin a new run') from error
    write_json(path, kept)
    return kept['id'], kept['steps']


def _library(name: str) -> Any:
    try:
        library = importlib.import_module(name)
        # A folder `wandb` of earlier runs imports as well, and is empty.
        library.init  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise UserError(
            f'--log={name}: {name} is not installed; pip install {name}, or leave --log out for '
            'TensorBoard'
        ) from error
    return library


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), '') or type(error).__name__
