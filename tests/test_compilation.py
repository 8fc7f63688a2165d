import jax
import pytest

from contrastive_jax import compilation

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
