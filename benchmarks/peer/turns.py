"""The turns of a process that is measured: works when asked to, and says how long it took.

Needs nothing but Python, since both sides of a comparison import it.
"""

import sys
import time
from collections.abc import Callable

__all__ = ['serve']


def serve(work: Callable[[], object], finish: Callable = lambda result: result) -> None:
    """Reads numbers of turns, one a line, makes them, and prints the seconds and a result.

    Args:
      work: one turn; what it returns need not be ready.
      finish: waits for the last result, and returns what to print beside the seconds.
    """
    print('ready', flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            result = work()
        shown = finish(result)
        print(time.perf_counter() - began, shown, flush=True)
