"""Strict arithmetic for every test: no silent promotion or broadcast, four devices."""

import gc
import os
import shutil
import signal
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

# Before JAX is imported. Several devices, since cross-device negatives are where contrastive code
# goes wrong; and little optimisation, since nearly all of the time of a test is compilation.
_FLAGS = '--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0'
# The older code generator compiles in half of the time. A jaxlib that lacks it ends on the flag.
if metadata.version('jaxlib').startswith('0.10.'):
    _FLAGS += ' --xla_cpu_use_fusion_emitters=false'
os.environ['XLA_FLAGS'] = f'{_FLAGS} {os.environ.get("XLA_FLAGS", "")}'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Containers often forbid bytecode. Then every process of a test compiles the package anew.
sys.dont_write_bytecode = False
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
# Shells start background jobs with Ctrl-C ignored, and the runs that tests interrupt inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests repeat each other's programs, and the next session repeats all of them.
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'

import jax
import jaxtyping
import matplotlib
import pytest
from hypothesis import settings

matplotlib.use('Agg')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Shapes and types in signatures are promises: check them at every call.
jaxtyping.install_import_hook('contrastive_jax', 'beartype.beartype')

# After the hook, so that what this imports is checked as well.
from contrastive_jax.runtime.compilation import processor_kind

_MOST_COMPILED = 2 << 30
# Folders whose files take longest. One worker has all tests of a file, and traces and compiles what
# they share once. A long file begun last would keep the other cores waiting.
_LONG = ('tests', 'faults', 'runtime', 'training', 'evaluation', 'numerics')


def _keep_programs():
    """Keeps compiled programs for all processes of this session and for the next one."""
    # A folder may move to another machine.
    folder = Path(__file__).parents[1] / '.pytest_cache' / 'compiled' / processor_kind()
    if 'PYTEST_XDIST_WORKER' not in os.environ:
        size = sum(file.stat().st_size for file in folder.glob('*-cache'))
        if size > _MOST_COMPILED:
            shutil.rmtree(folder, ignore_errors=True)
    os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder)
    jax.config.update('jax_compilation_cache_dir', str(folder))


_keep_programs()

# The same examples at every run; by hand: `pytest tests/fuzz --hypothesis-profile=thorough`.
settings.register_profile('quick', max_examples=12, derandomize=True, deadline=None, database=None)
settings.register_profile('thorough', max_examples=1000, deadline=None, database=None)
settings.load_profile('quick')


def pytest_addoption(parser):
    parser.addoption('--kills', type=int, default=2, help='of each run in tests/faults')


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


def pytest_collection_finish():
    # Imported modules stay, so the garbage collector need not walk them again and again.
    gc.collect()
    gc.freeze()


@pytest.fixture
def unchecked_types():
    """Shapes and types unchecked, as outside the tests, for what the functions check themselves."""
    jaxtyping.config.update('jaxtyping_disable', True)
    yield
    jaxtyping.config.update('jaxtyping_disable', False)


@pytest.fixture
def any_rank():
    """Operations on arrays of several ranks, as Flax has them where it adds biases to products."""
    with jax.numpy_rank_promotion('allow'):
        yield


@pytest.fixture
def compiled():
    """Counts the programs that are compiled during a test, by name."""
    count = Counter()

    def listen(event, seconds, *, fun_name='', **_):
        if event == '/jax/core/compile/backend_compile_duration':
            count[fun_name.removeprefix('jit(').removesuffix(')')] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield count
    jax.monitoring.unregister_event_duration_listener(listen)
