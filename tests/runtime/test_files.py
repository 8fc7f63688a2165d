import os
import threading

import pytest

from contrastive_jax.data.feature_rows import open_rows
from contrastive_jax.data.score_files import read_scores
from contrastive_jax.errors import UserError
from contrastive_jax.models.portable import read_portable
from contrastive_jax.runtime.files import read_arrays, read_json, read_text, write_json, write_whole


def test_of_writers_at_once_each_leaves_a_whole_file(tmp_path):
    # Both have written half of it before either goes on.
    path, failed = tmp_path / 'shared.json', []
    half = threading.Barrier(2)

    def write(number):
        def content(file):
            file.write(b'{"writer": ')
            file.flush()
            half.wait(20)
            file.write(b'%d}' % number)

        try:
            write_whole(path, content)
        except OSError as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
    assert read_json(path)['writer'] in (0, 1)
    assert [file.name for file in tmp_path.iterdir()] == ['shared.json']


def test_what_fails_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / 'x.json'
    write_json(path, {'a': 1})
    with pytest.raises(ZeroDivisionError):
        write_whole(path, lambda file: file.write(b'half') / 0)
    assert read_json(path) == {'a': 1}
    assert [file.name for file in tmp_path.iterdir()] == ['x.json']


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    path = tmp_path / 'x.json'
    old, new, other = (
        tmp_path / f'{name}.part' for name in ('x.json.0123abcd', 'x.json.01234567', 'x.json.b')
    )
    for part in (old, new, other):
        part.touch()
    for part in (old, other):
        os.utime(part, (0, 0))
    write_json(path, {'a': 1})
    assert {file.name for file in tmp_path.iterdir()} == {'x.json', new.name, other.name}


@pytest.mark.parametrize(
    'read',
    [
        read_arrays,
        read_portable,
        read_text,
        lambda path: open_rows(str(path)),
        lambda path: open_rows(str(path.parent)),
        lambda path: read_scores(str(path), n=1, checksum='', where='--scores'),
    ],
)
@pytest.mark.parametrize('end', ['npy', 'parquet', 'safetensors'])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read, end):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / f'link.{end}').symlink_to('pipe')
    with pytest.raises(UserError, match=rf'link\.{end}.*: is a pipe, a socket or a device'):
        read(tmp_path / f'link.{end}')
