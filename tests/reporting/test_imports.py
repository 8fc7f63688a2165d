import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(statement):
    """Names of the modules that are loaded after a statement in a new process."""
    code = f'{statement}\nimport sys\nprint("\\n".join(sys.modules))'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.ci
def test_only_reporting_needs_matplotlib():
    commands = ('score', 'bounds', 'views', 'probe', 'report')
    modules = imported(
        'from contrastive_jax import graph, theory\n'
        f'from contrastive_jax import {", ".join(commands)}'
    )
    assert {f'contrastive_jax.{name}' for name in ('graph', 'theory', *commands)} <= modules
    assert 'matplotlib' not in modules
    assert 'matplotlib' in imported('import contrastive_jax.reporting.galleries')


@pytest.mark.parametrize(
    'statement',
    [
        'import contrastive_jax.score',
        'import contrastive_jax.bounds',
        'import contrastive_jax.views',
        'import contrastive_jax.atlas',
        'from contrastive_jax import difficulty, nt_xent, difficult_band',
    ],
)
def test_what_needs_no_model_waits_for_no_library_of_models(statement):
    assert not imported(statement) & {'flax', 'optax', 'orbax', 'sklearn', 'pandas'}


def test_digits_wait_for_no_scikit_learn():
    modules = imported(
        'from contrastive_jax.config import default\n'
        'from contrastive_jax.data import sources\n'
        'sources.load(default().data)'
    )
    assert 'contrastive_jax.data.array_sources' in modules
    assert 'sklearn' not in modules


def test_a_probe_needs_an_optimiser_and_no_model():
    assert not imported('import contrastive_jax.probe') & {'flax', 'orbax', 'sklearn', 'pandas'}


@pytest.mark.parametrize('name', ['collect', 'statistics', 'choice', 'tables', 'markdown', 'html'])
def test_a_report_needs_no_model_and_no_data(name):
    modules = imported(f'import contrastive_jax.reporting.{name}')
    rooms = {module.split('.')[1] for module in modules if module.startswith('contrastive_jax.')}
    assert rooms == {'config', 'ebt', 'errors', 'reporting', 'runs', 'runtime', 'tasks'}
    # Of the tasks no more than what the config knows of them.
    tasks = {module for module in modules if '.tasks.' in module or '.ebt.' in module}
    assert tasks == {'contrastive_jax.tasks.sections', 'contrastive_jax.ebt.section'}
    heavy = ('jax', 'flax', 'optax', 'orbax', 'sklearn', 'grain', 'tensorflow_datasets')
    assert not modules & set(heavy)
