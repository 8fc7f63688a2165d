"""How much memory the devices of this process and their host have left."""

import os
from pathlib import Path

import jax

__all__ = ['on_each_device', 'on_host']


def on_each_device() -> int:
    """Bytes that each device of this process may take; CPU devices share the memory of the host."""
    devices = jax.local_devices()
    statistics = [device.memory_stats() for device in devices]
    if all(each and 'bytes_limit' in each for each in statistics):
        return min(each['bytes_limit'] - each.get('bytes_in_use', 0) for each in statistics)
    return on_host() // len(devices)


def on_host() -> int:
    """Bytes that the host has left, of which a container may allow less.

    Files that the kernel keeps in memory count as free where it drops them for programs.
    """
    free = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    for line in _lines('/proc/meminfo'):
        if line.startswith('MemAvailable:'):
            free = int(line.split()[1]) * 1024
    limit, used = (_lines(f'/sys/fs/cgroup/memory.{name}') for name in ('max', 'current'))
    if limit and used and limit[0].isdecimal():
        kept = (line.split() for line in _lines('/sys/fs/cgroup/memory.stat'))
        files = sum(int(number) for name, number in kept if name == 'inactive_file')
        free = min(free, int(limit[0]) - int(used[0]) + files)
    return max(free, 0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
