"""What is imported, and that the package works without its tenant `ebt`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import write_npz

ROOT = Path(__file__).parents[1]

# Runs a command in a Python that cannot find the tenant.
_WITHOUT = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[:2] == ['contrastive_jax', 'ebt']:
            raise ModuleNotFoundError(f'No module named {name!r}', name='contrastive_jax.ebt')

sys.meta_path.insert(0, Absent())
runpy.run_module('contrastive_jax.' + sys.argv.pop(1), run_name='__main__', alter_sys=True)
"""


def _python(program, *arguments):
    return subprocess.run(
        [sys.executable, '-c', program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )


@pytest.mark.parametrize('module', ['contrastive_jax.config', 'contrastive_jax.reporting'])
def test_what_reads_configs_and_results_imports_nothing_heavy(module):
    program = f"""
import importlib, pkgutil, sys
package = importlib.import_module({module!r})
if {module!r}.endswith('reporting'):
    for name in ('choice', 'collect', 'details', 'entries', 'markdown', 'statistics', 'tables'):
        importlib.import_module(f'contrastive_jax.reporting.{{name}}')
heavy = ('jax', 'flax', 'sklearn', 'grain', 'orbax', 'optax', 'contrastive_jax.models')
print(sorted(name for name in sys.modules if name in heavy))
"""
    done = _python(program)
    assert (done.stdout.strip(), done.returncode) == ('[]', 0), done.stderr


@pytest.fixture
def arguments(tmp_path):
    fields = {
        'data.name': 'npz',
        'data.data_dir': write_npz(tmp_path / 'data.npz'),
        'batch_size': 16,
        'model.width': 4,
        'model.projector_width': 16,
        'model.projector_dim': 8,
        'augment.crop': False,
        'augment.jitter': 0.0,
        'augment.greyscale': 0.0,
        'probe.labels_per_class': 2,
        'probe.draws': 2,
    }
    flags = [f'--config.{path}={value}' for path, value in fields.items()]
    return ['--config=configs/digits.py:small', f'--workdir={tmp_path / "run"}', *flags]


@pytest.mark.ci
def test_without_the_tenant_a_run_is_trained_scored_and_reported(arguments, tmp_path):
    out = tmp_path / 'out'
    commands = (
        ['main', *arguments],
        ['score', f'--workdir={tmp_path / "run"}', f'--out={out / "scores"}'],
        ['report', str(tmp_path / 'run'), f'--out={out / "report"}'],
    )
    for command in commands:
        done = _python(_WITHOUT, *command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / 'run' / 'result.json').stat().st_size > 0
    assert (out / 'scores' / 'scores.npz').stat().st_size > 0
    assert 'conv' in (out / 'report' / 'report.md').read_text()


def test_without_the_tenant_its_models_are_not_allowed_values(arguments):
    done = _python(_WITHOUT, 'main', *arguments, '--config.model.name=energy')
    assert done.returncode == 1
    assert done.stderr.startswith("error: config.model.name='energy': must be one of conv, resnet")


@pytest.mark.parametrize(
    ('command', 'begin'),
    [
        (['verify', '--workdir=run'], 'error: System 2'),
        (
            ['main', '--config=configs/ebt_denoise.py', '--workdir=run'],
            'error: configs/ebt_denoise.py, line ',
        ),
    ],
)
def test_what_needs_the_tenant_says_in_one_line_that_it_is_not_installed(command, begin):
    done = _python(_WITHOUT, *command)
    assert done.returncode == 1
    assert done.stderr.startswith(begin)
    assert 'System 2 is not installed' in done.stderr
    assert done.stderr.count('\n') == 1
