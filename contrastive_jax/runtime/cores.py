"""How many cores this process may use."""

import os
import sys

__all__ = ['usable_cores']


def usable_cores() -> int:
    """The cores that this process may use; a batch system may have given it a few of them alone."""
    # Only Linux tells.
    return len(os.sched_getaffinity(0)) if sys.platform == 'linux' else os.cpu_count() or 1
