from contrastive_jax.runtime import memory

FILES = {
    '/proc/meminfo': ['MemTotal: 9 kB', 'MemFree: 1 kB', 'MemAvailable: 5 kB'],
    '/sys/fs/cgroup/memory.max': ['4000'],
    '/sys/fs/cgroup/memory.current': ['3500'],
    '/sys/fs/cgroup/memory.stat': ['anon 500', 'inactive_file 2500', 'inactive_anon 7'],
}


def _on_host(monkeypatch, **changes):
    files = FILES | {f'/sys/fs/cgroup/memory.{name}': lines for name, lines in changes.items()}
    monkeypatch.setattr(memory, '_lines', lambda path: files.get(path, []))
    return memory.on_host()


def test_files_that_the_kernel_keeps_take_no_memory_of_a_container(monkeypatch):
    assert _on_host(monkeypatch) == 4000 - (3500 - 2500)
    assert _on_host(monkeypatch, stat=[]) == 500
    assert _on_host(monkeypatch, current=['7000'], stat=[]) == 0


def test_without_a_limit_the_host_decides(monkeypatch):
    assert _on_host(monkeypatch, max=['max']) == 5 * 1024
    assert _on_host(monkeypatch, max=[], current=[]) == 5 * 1024
    assert _on_host(monkeypatch, max=['1000000']) == 5 * 1024
