"""Lock files: one holder, however it came to the file."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from contrastive_jax.runtime import locks

TAKE = 'import pathlib, sys; from contrastive_jax.runtime.locks import take_lock as take'


def _in_another_process(path) -> str:
    code = f'{TAKE}; print(take(pathlib.Path(sys.argv[1])).held)'
    return subprocess.check_output([sys.executable, '-c', code, path], text=True).strip()


def test_another_process_gets_it_after_it_was_closed(tmp_path):
    lock = locks.take_lock(tmp_path / 'lock')
    assert lock.held is True
    assert _in_another_process(tmp_path / 'lock') == 'False'
    lock.file.close()
    assert _in_another_process(tmp_path / 'lock') == 'True'


def test_file_that_its_holder_removed_is_opened_anew(tmp_path, monkeypatch):
    path = tmp_path / 'lock'
    lock, removals = fcntl.lockf, []

    def after_removal(file, flags):
        lock(file, flags)
        if not removals:
            removals.append(path.unlink())

    monkeypatch.setattr(fcntl, 'lockf', after_removal)
    taken = locks.take_lock(path)
    with taken.file:
        assert taken.held is True
        assert os.path.samestat(os.fstat(taken.file.fileno()), path.stat())


def test_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    lock = locks.take_lock(tmp_path / 'lock')
    with lock.file:
        assert lock.held is None
        lock.file.write('a line')


def test_link_is_not_followed(tmp_path):
    (tmp_path / 'precious').write_text('text')
    (tmp_path / 'lock').symlink_to('precious')
    with pytest.raises(OSError, match='symbolic links'):
        locks.take_lock(tmp_path / 'lock')
