"""What the commands share: they parse flags, and print one clear line for an error of the user."""

import contextlib
import errno
import gc
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from contrastive_jax.config import FIELDS, check_field, paths, resolve, validate
from contrastive_jax.config.shipped import (
    check_config_files,
    config_specs,
    place_in_config,
    with_config_files,
)
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import compilation, distributed, preemption, shell

__all__ = [
    'check_company',
    'config_of_flags',
    'define_common',
    'define_features',
    'define_processes',
    'processes',
    'resolved_flags',
    'run',
]

# Flags belong to the command that asks for them: its --help lists them.
flags.disclaim_key_flags()

_COMMON: dict[str, tuple[Callable[..., object], bool | None]] = {
    'workdir': (flags.DEFINE_string, None),
    'out': (flags.DEFINE_string, None),
    'overwrite': (flags.DEFINE_bool, False),
    'all': (flags.DEFINE_bool, False),
}
# Flags of commands that hold a path.
_PATHS = ('workdir', 'out', 'features', 'labels', 'images', 'scores', 'shared', 'init', 'paper')
# How absl names a field with a value that it cannot convert.
_FIELD = re.compile(r'flag --config\.([\w.]+)=(.*?): ')
_MISSING = re.compile(r'Flag --(\w+) must have a value other than None')
_UNKNOWN = re.compile(r"Unknown command line flag '([\w.]+)'")
_HELP = ('help', 'helpfull', 'helpshort', 'helpxml', '?')
# UserError, errors of absl, and those of ml_collections for fields, values and files.
_OF_FLAGS = (
    flags.Error,
    AttributeError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
    OSError,
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# The exit status of a program that writes to a pipe without a reader.
_SIGPIPE = 128 + signal.SIGPIPE


def run(command: Callable[..., None], *, positional: bool = False) -> None:
    """Parses the flags and runs a command; a UserError becomes one line and exit status 1.

    SIGINT, SIGTERM and SIGHUP end the command with one line and `preemption.STATUS`.

    Args:
      command: function that is called with the positional arguments, as texts.
      positional: whether positional arguments are allowed.
    """
    preemption.exit_when_told_to_stop()
    shell.escape_missing_characters()
    app.run(
        lambda rest: _guarded(lambda: command(*rest[1:])),
        flags_parser=lambda arguments: _parse_flags(arguments, positional),
    )


def define_common(**meanings: str) -> None:
    """Defines flags that many commands have.

    Args:
      **meanings: what each flag means in this command; the names are `workdir`, `out`, `overwrite`
        and `all`.
    """
    for name, meaning in meanings.items():
        define, default = _COMMON[name]
        define(name, default, meaning)


def define_features() -> None:
    """Defines the flags of a command that takes features of any encoder in place of a run."""
    flags.DEFINE_string('features', None, 'Features [n, k] in place of a run: a file or shards.')
    flags.DEFINE_string('labels', None, 'With --features: npy file of n integers.')


def check_company(values: flags.FlagValues, names: Sequence[str], company: Sequence[str]) -> None:
    """Checks flags that mean something beside certain others alone.

    Args:
      values: the flags.
      names: flags that need company.
      company: flags of which one at least has to be given too.

    Raises:
      UserError: one of `names` is given, and none of `company`.
    """
    if any(values[name].value is not None for name in company):
        return
    for name in names:
        if values[name].present:
            raise UserError(f'--{name}: goes with {" or ".join(f"--{other}" for other in company)}')


def define_processes() -> None:
    """Defines the flags of a command that several processes can run together; see `processes`."""
    flags.DEFINE_bool(
        'distributed', None, 'Join other processes; by default only under srun and on Cloud TPU.'
    )
    flags.DEFINE_string('coordinator_address', None, 'Address HOST:PORT of process 0.')
    flags.DEFINE_integer('num_processes', None, 'Number of processes.')
    flags.DEFINE_integer('process_id', None, 'Number of this process, from 0.')
    flags.DEFINE_bool(
        'deterministic', False, 'Get the same bits in every run on GPUs, with slower programs.'
    )


@contextlib.contextmanager
def processes(values: flags.FlagValues = flags.FLAGS) -> Iterator[None]:
    """Joins the processes that the flags of `define_processes` name; one of them speaks."""
    if values.deterministic:
        compilation.make_deterministic()
    address, count, index = values.coordinator_address, values.num_processes, values.process_id
    distributed.start(values.distributed, distributed.ProcessInfo(address, count, index))
    if jax.process_count() > 1:
        preemption.pass_interrupt_on()
    with distributed.one_voice(), distributed.or_leave(), compilation.refusals():
        yield


def config_of_flags(values: flags.FlagValues = flags.FLAGS) -> tuple[ConfigDict, list[str]]:
    """What `resolved_flags` returns, after `config.validate`.

    Raises:
      UserError: a value that is not allowed, or fields that contradict each other.
    """
    config, words = resolved_flags(values)
    validate(config)
    return config, words


def resolved_flags(values: flags.FlagValues = flags.FLAGS) -> tuple[ConfigDict, list[str]]:
    """The config of the command line with its arm resolved, and notes to print for the user.

    Raises:
      UserError: a value that is not allowed, or given fields that contradict each other.
    """
    return resolve(values.config, config_flags.get_override_values(values['config']))


def _guarded(command: Callable[[], None]) -> None:
    compilation.keep_programs()
    # Imported modules stay, so the garbage collector need not walk them again and again.
    gc.freeze()
    # Libraries log every step that they take at level INFO.
    logging.set_verbosity(logging.WARNING)
    # Orbax also logs every error that it raises, with its traceback.
    logging.get_absl_handler().addFilter(lambda record: 'orbax' not in record.pathname)
    try:
        command()
    except UserError as error:
        sys.exit(f'error: {error}')
    except preemption.Preempted as notice:
        # Nobody may read it any more, and the status counts.
        with contextlib.suppress(OSError):
            print(f'error: {notice}; the same command goes on from there', file=sys.stderr)
        sys.exit(preemption.STATUS)
    except MemoryError as error:
        sys.exit(f'error: out of memory ({_one_line(error)}); give less data, or more memory')
    except Exception as error:
        _leave_if_unread(error)
        if _is_of_platforms(error):
            sys.exit(
                f'error: JAX_PLATFORMS={os.environ["JAX_PLATFORMS"]}: JAX finds no such devices '
                f'here ({_one_line(error) or type(error).__name__}); unset it, or set it to cpu'
            )
        if not _is_lack_of_room(error):
            raise
        with contextlib.suppress(OSError):
            print(
                f'error: {getattr(error, "filename", None) or "the disk"}: no space left; make '
                'room and give the same command again: a run goes on from its newest checkpoint, '
                'and other commands start again, with --overwrite where some of their files are '
                'there',
                file=sys.stderr,
                flush=True,
            )
        # A normal exit would let other writers, which meet the full disk later, abort the process.
        os._exit(1)


def _leave_if_unread(error: Exception) -> None:
    """Ends the program as `head` ends others, if standard output is a pipe without a reader."""
    if not isinstance(error, BrokenPipeError):
        return
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_SIGPIPE)


def _is_of_platforms(error: Exception) -> bool:
    """Whether JAX has no devices of the kind that the environment asks for."""
    if not os.environ.get('JAX_PLATFORMS'):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.endswith('xla_bridge.py')


def _is_lack_of_room(error: Exception) -> bool:
    """Whether the disk is full, by the error number of Python or the message of TensorStore."""
    messages = [os.strerror(number) for number in _NO_ROOM]
    return getattr(error, 'errno', None) in _NO_ROOM or any(text in str(error) for text in messages)


def _parse_flags(arguments: list[str], positional: bool) -> list[str]:
    """Parses the flags; a wrong flag ends the program with one line.

    `~` stands for the home folder in every argument, flag and path of the config.
    """
    try:
        arguments = flags.FLAGS.read_flags_from_files(arguments)
        arguments = [*arguments[:1], *map(shell.expand_home, arguments[1:])]
        arguments = with_config_files(arguments)
        check_config_files(arguments)
        for argument in arguments[1:]:
            if argument.startswith('--config.'):
                check_field(argument.removeprefix('--config.').partition('=')[0])
        rest = _read(arguments)
        _check_not_empty(rest[1:])
        if len(rest) > 1 and not positional:
            raise UserError(f'unexpected argument {rest[1]!r}; flags are written --name=value')
        # Reading the flag raises the errors of a config file that cannot be loaded.
        if 'config' in flags.FLAGS and flags.FLAGS.config is not None:
            _expand_paths(flags.FLAGS.config)
    except Exception as error:
        # --help prints here.
        _leave_if_unread(error)
        place = place_in_config(error, arguments)
        if not (place or isinstance(error, _OF_FLAGS)):
            raise
        sys.exit(f'error: {place}{_way_out(_one_line(error), arguments)}')
    return rest


def _way_out(message: str, arguments: list[str]) -> str:
    """The message of an error of flags; of absl's messages, one that says what to do."""
    spec = next(config_specs(arguments), None)
    if spec is not None and message.endswith("has no attribute 'get_config'"):
        return f'--config={spec}: has no function get_config'
    early = 'Configuration is not available because of an earlier failure to load: '
    if spec is not None and message.startswith(early):
        return f'--config={spec}: cannot be loaded: {message.removeprefix(early)}'
    if spec is not None and _MISSING.findall(message) == ['config']:
        return f'--config={spec}: its get_config returns None; return a config'
    # Each missing flag has a message of its own, and all are in one.
    if missing := _MISSING.findall(message):
        lines = (sys.modules['__main__'].__doc__ or '').splitlines()
        example = next((line for line in lines if line.startswith('python -m')), '')
        named = ', '.join(f'--{name}' for name in missing)
        return f'{named}: missing; for example {example}' if example else f'{named}: missing'
    unknown = _UNKNOWN.match(message)
    if unknown and 'config' in flags.FLAGS:
        near = [path for path in FIELDS if path == unknown[1] or path.endswith(f'.{unknown[1]}')]
        if near:
            return f'{message.rstrip(".")}; did you mean --config.{near[0]}?'
    return message


def _read(arguments: list[str]) -> list[str]:
    """Reads the flags; a call for help ends with status 0, and not with absl's 1."""
    try:
        return flags.FLAGS(arguments)
    except SystemExit as ending:
        # A config file may end the program as well.
        if not any(argument.lstrip('-') in _HELP for argument in arguments[1:]):
            raise
        raise SystemExit(0) from ending
    except flags.IllegalFlagValueError as error:
        field = _FIELD.match(str(error))
        if field is None or field[1] not in FIELDS:
            raise
        raise UserError(
            f'--config.{field[1]}={field[2]}: must be {FIELDS[field[1]].rule.allowed}'
        ) from error


def _check_not_empty(positional: Sequence[str]) -> None:
    """Refuses empty paths, which Python takes for the current folder."""
    empty = [
        f'--{name}' for name in _PATHS if name in flags.FLAGS and flags.FLAGS[name].value == ''
    ]
    if empty or '' in positional:
        named = ', '.join(empty) or 'an argument'
        raise UserError(f'{named}: is empty; give a path, or leave it out')


def _expand_paths(config: ConfigDict) -> None:
    """Expands `~` in the path fields, and reads None, which a flag can say as a text alone."""
    for path in paths():
        *sections, name = path.split('.')
        section = config
        for part in sections:
            section = section.get(part, {})
        if isinstance(section.get(name), str):
            given = section[name]
            section[name] = None if given == 'None' else shell.expand_home(given)


def _one_line(error: Exception) -> str:
    """The message in one line, without the traceback of a config file that failed."""
    text = str(error)
    if 'Traceback' in text:
        text = text.strip().splitlines()[-1].partition(': ')[2]
    return ' '.join(text.split())
