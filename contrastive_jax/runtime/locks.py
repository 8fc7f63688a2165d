"""Lock files: at most one process has one, and loses it when it ends."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import NamedTuple, TextIO

__all__ = ['Lock', 'take_lock']


class Lock(NamedTuple):
    """A lock file that is open; closing it gives the lock back.

    Attributes:
      file: the file, open for reading and writing, at its start.
      held: whether this process has the lock; None where the file system has no locks.
    """

    file: TextIO
    held: bool | None


def take_lock(path: Path) -> Lock:
    """Opens a lock file, which is created if necessary, and locks it unless another process has it.

    Args:
      path: the lock file, in a folder that exists.

    Returns:
      The lock. The children of this process do not hold it.

    Raises:
      OSError: the file cannot be opened for writing, or is a link.
    """
    # Links are not followed, because whoever has the lock may write into the file.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        file = os.fdopen(os.open(path, flags, 0o666), 'r+', errors='replace')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Lock(file, False if error.errno in (errno.EACCES, errno.EAGAIN) else None)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
                return Lock(file, True)
        # Whoever had it has removed it in the meantime: another process may hold a new one.
        file.close()
