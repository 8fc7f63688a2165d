import errno
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.runtime import compilation

ROOT = Path(__file__).parents[2]
FUSION = 'xla_cpu_experimental_ynn_fusion_type'


@pytest.fixture
def no_cache(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update('jax_compilation_cache_dir', None)
    yield
    jax.config.update('jax_compilation_cache_dir', before)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', least)


def test_programs_are_kept_where_the_user_keeps_caches(no_cache, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    compilation.keep_programs()
    folder = jax.config.jax_compilation_cache_dir
    assert folder.startswith(str(tmp_path / 'contrastive_jax' / 'compiled'))


def test_a_folder_that_the_user_names_stays(no_cache, monkeypatch, tmp_path):
    jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'mine'))
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / 'mine')


def test_without_room_for_a_cache_there_is_none(no_cache, monkeypatch, tmp_path):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None


def test_without_a_home_folder_there_is_no_cache(no_cache, monkeypatch, caplog):
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    # A number that the system has no entry for, as containers are often given.
    unknown = max(entry.pw_uid for entry in pwd.getpwall()) - 1
    monkeypatch.setattr(os, 'getuid', lambda: unknown)
    with pytest.raises(KeyError):
        pwd.getpwuid(unknown)
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    assert 'programs are compiled at every start' in caplog.text


def test_processors_of_one_name_and_other_instructions_share_no_programs(monkeypatch):
    lines = 'processor : 0\nmodel name : Some EPYC\nflags : fpu {}\nmodel name : Another'
    monkeypatch.setattr(compilation, '_LINUX', True)
    kinds = []
    for flags in ('avx2 avx512f', 'avx2', 'avx2'):
        monkeypatch.setattr(Path, 'read_text', lambda path, flags=flags: lines.format(flags))
        assert compilation.processor() == 'Some EPYC'
        kinds.append(compilation.processor_kind())
    assert kinds[0] != kinds[1] == kinds[2]


def test_a_relative_cache_folder_is_not_made(no_cache, monkeypatch, tmp_path):
    """A `~` that no shell has expanded, as in a Dockerfile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('XDG_CACHE_HOME', '~/.cache')
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path / 'home' / '.cache'))
    assert [path.name for path in tmp_path.iterdir()] == ['home']


@pytest.mark.skipif(os.getuid() != 0, reason='gives up the rights of root')
def test_a_cache_folder_of_somebody_else_is_left_alone():
    """In a process of another user, for root may write everywhere."""
    program = (
        'import os, sys\n'
        'import jax\n'
        'from contrastive_jax.runtime import compilation\n'
        'os.setuid(int(sys.argv[1]))\n'
        'compilation.keep_programs()\n'
        'print(jax.config.jax_compilation_cache_dir)\n'
    )
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        environ = os.environ | {'XDG_CACHE_HOME': home, 'PYTHONPATH': str(ROOT)}
        environ.pop('JAX_COMPILATION_CACHE_DIR', None)
        # The first user makes the folder; the second may look into it, and not write.
        first, second = (
            subprocess.run(
                [sys.executable, '-c', program, user],
                capture_output=True,
                text=True,
                env=environ,
                check=True,
            )
            for user in ('0', '12345')
        )
    assert first.stdout.startswith(home)
    assert second.stdout == 'None\n'
    assert os.strerror(errno.EACCES) in second.stderr


def test_deterministic_programs_are_asked_of_xla(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=4')
    compilation.make_deterministic()
    assert os.environ['XLA_FLAGS'].split() == [
        '--xla_force_host_platform_device_count=4',
        '--xla_gpu_deterministic_ops=true',
    ]


def _refused():
    raise jax.errors.JaxRuntimeError('UNIMPLEMENTED: no deterministic\nselect-and-scatter')


def test_an_operation_without_deterministic_program_is_one_line(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '')
    with pytest.raises(jax.errors.JaxRuntimeError), compilation.refusals():
        _refused()
    compilation.make_deterministic()
    with (
        pytest.raises(UserError, match=r'--deterministic: XLA refuses .* select-and-scatter'),
        compilation.refusals(),
    ):
        _refused()


def test_xla_knows_the_flag_and_the_result_names_it(tmp_path):
    program = (
        'from contrastive_jax.runs import provenance\n'
        'from contrastive_jax.runtime import compilation\n'
        'compilation.make_deterministic()\n'
        "print(provenance.platform_flags()['environment']['XLA_FLAGS'])\n"
    )
    environ = os.environ | {'XLA_FLAGS': '', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout == '--xla_gpu_deterministic_ops=true\n'


def test_options_of_the_step_give_way_to_the_users(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=4')
    assert compilation.step_options().keys() <= {FUSION}
    for version in ('0.10.2', '0.11.0', '0.12.0.1'):
        monkeypatch.setattr(jax, '__version__', version)
        assert compilation.step_options().keys() == {FUSION}
    monkeypatch.setattr(jax, '__version__', '0.13.0')
    assert compilation.step_options() == {}
    monkeypatch.setattr(jax, '__version__', '0.10.2')
    monkeypatch.setenv('XLA_FLAGS', f'--{FUSION}=')
    assert compilation.step_options() == {}
