import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrastive_jax import main
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import HOST_STREAMS, STREAMS
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runs.names import RESULT
from contrastive_jax.runs.training_set import check_images, claim_workdir
from contrastive_jax.runs.workdir import check_outside_data, locked
from contrastive_jax.runtime.files import printable, read_json, read_text, write_sealed_json
from tests.helpers import small_config


@pytest.fixture
def data(tmp_path):
    for name in 'ab':
        (tmp_path / 'data' / name).mkdir(parents=True)
        for index in range(10):
            image = Image.new('RGB', (8, 8), (index, 0, 0))
            image.save(tmp_path / 'data' / name / f'{index}.png')
    return tmp_path / 'data'


@pytest.mark.parametrize('place', ['', 'run', 'a/run', 'runs/one/two', '../data/run', 'out/run'])
def test_a_workdir_in_the_data_folder_is_refused(data, tmp_path, place):
    (tmp_path / 'elsewhere').mkdir()
    (data / 'out').symlink_to(tmp_path / 'elsewhere')
    before = sorted(data.rglob('*'))
    config = small_config(data__name='folder', data__data_dir=str(data))
    with pytest.raises(UserError, match=r'--workdir=.*is in the data folder \(config\.data\.data_'):
        main.run(config, data / place)
    assert sorted(data.rglob('*')) == before


def test_shared_probes_in_the_data_folder_are_refused(data, tmp_path):
    config = small_config(data__name='folder', data__data_dir=str(data))
    with pytest.raises(UserError, match=r'--shared=.*is in the data folder'):
        main.run(config, tmp_path / 'run', data / 'shared')
    assert sorted(path.name for path in data.iterdir()) == ['a', 'b']


def test_a_link_does_not_hide_the_data_folder(data, tmp_path):
    (tmp_path / 'link').symlink_to(data)
    for data_dir, workdir in ((tmp_path / 'link', data / 'x'), (data, tmp_path / 'link' / 'x')):
        config = small_config(data__name='folder', data__data_dir=str(data_dir))
        with pytest.raises(UserError, match='is in the data folder'):
            check_outside_data(workdir, '--workdir', config.data)


def test_a_run_that_is_in_the_data_already_is_to_be_moved(data):
    config = small_config(data__name='folder', data__data_dir=str(data))
    (data / 'run').mkdir()
    (data / 'run' / 'config.json').write_text(json.dumps(config.to_dict()))
    with pytest.raises(UserError, match='goes on after its folder was moved') as refusal:
        main.run(config, data / 'run')
    assert 'delete' not in str(refusal.value)
    assert [path.name for path in (data / 'run').iterdir()] == ['config.json']


def test_other_places_are_free(data, tmp_path):
    config = small_config(data__name='folder', data__data_dir=str(data))
    for place in (tmp_path / 'run', tmp_path / 'data2', tmp_path):
        check_outside_data(place, '--workdir', config.data)
    check_outside_data(tmp_path / 'run', '--workdir', small_config().data)


def _begun(data, workdir, *, streams):
    """A run whose test images were drawn from its training images, and how to read it."""
    config = small_config(data__name='folder', data__data_dir=str(data), batch_size=4)
    built = construct(config, sources.load(config.data).pretrain)
    claim_workdir(workdir, config, built, held_out=True)
    (workdir / 'checkpoints' / '1').mkdir(parents=True)
    path = workdir / 'training_set.npz'
    path.unlink()
    chosen = {name: getattr(built, name) for name in ('kept', 'mixed', 'partners')}
    if streams is not None:
        np.savez(path, **chosen, **({'streams': streams} if streams else {}))
    return config


@pytest.mark.parametrize('read', [main.run, lambda _, workdir: load_run(workdir)])
@pytest.mark.parametrize('streams', [1, 0, None], ids=['edition 1', 'no edition', 'no file'])
def test_a_run_of_other_held_out_images_is_refused(data, tmp_path, read, streams):
    config = _begun(data, tmp_path / 'run', streams=streams)
    with pytest.raises(UserError, match='test on images that the run trained on'):
        read(config, tmp_path / 'run')


def test_a_run_whose_views_alone_were_drawn_otherwise_holds_out_the_same_images(data, tmp_path):
    config = _begun(data, tmp_path / 'run', streams=HOST_STREAMS)
    built = construct(config, sources.load(config.data).pretrain)
    assert check_images(tmp_path / 'run', built, held_out=True) == HOST_STREAMS < STREAMS


@pytest.mark.filterwarnings('ignore')  # Of Orbax and its event loop.
def test_a_run_of_an_unknown_version_goes_on_where_its_test_images_are_the_same(tmp_path, caplog):
    workdir, config = tmp_path / 'run', small_config()
    built = construct(config, sources.load(config.data).pretrain)
    claim_workdir(workdir, config, built)
    (workdir / 'training_set.npz').unlink()
    # Without a checkpoint nothing of the run was drawn yet.
    claim_workdir(workdir, config, built)
    assert check_images(workdir, built) == STREAMS
    (workdir / 'training_set.npz').unlink()
    (workdir / 'checkpoints' / '1').mkdir(parents=True)
    claim_workdir(workdir, config, built)
    assert check_images(workdir, built) == 0
    assert 'begun by a version' in caplog.messages[-1]


def test_a_finished_run_is_not_to_be_deleted(tmp_path, capsys):
    config = small_config()
    (tmp_path / 'run').mkdir()
    write_sealed_json(tmp_path / 'run' / 'config.json', config.to_dict())
    write_sealed_json(tmp_path / 'run' / 'result.json', {})
    main.run(config, tmp_path / 'run')
    said = capsys.readouterr().out
    assert 'finished' in said
    assert 'choose another --workdir' in said
    assert 'elete' not in said


def test_checksums_saved_by_another_editor_are_read(tmp_path):
    write_sealed_json(tmp_path / 'config.json', {'seed': 0})
    sums = tmp_path / 'SHA256SUMS'
    sums.write_bytes(b'\xef\xbb\xbf' + sums.read_bytes().replace(b'\n', b'\r\n'))
    write_sealed_json(tmp_path / 'result.json', {})
    assert sorted(line.split()[1] for line in sums.read_text().splitlines()) == [
        'config.json',
        'result.json',
    ]


def test_text_is_read_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / 'text'
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
        path.write_bytes('é日\n'.encode(encoding))
        assert read_text(path) == 'é日\n'
    path.write_bytes(b'\xe9')
    assert read_text(path) == '\udce9'


def test_any_name_can_be_printed():
    assert printable('plain 日本 é　_') == 'plain 日本 é　_'
    assert printable('a\nb\t\udce9\ud800\x85') == r'a\nb\t\xe9\ud800\x85'


def test_a_lock_under_which_nothing_is_written_leaves_nothing(tmp_path):
    workdir = tmp_path / 'a' / 'run'
    with locked(workdir):
        assert 'process' in (workdir / 'lock').read_text()
    assert list(tmp_path.iterdir()) == []
    with locked(workdir):
        (workdir / 'config.json').write_text('{}')
    assert sorted(path.name for path in workdir.iterdir()) == ['config.json', 'lock']
    with locked(workdir):
        pass
    assert sorted(path.name for path in workdir.iterdir()) == ['config.json', 'lock']


@pytest.mark.parametrize('content', [b'mutex = 1\n', b'\x89PNG\xff'])
def test_a_lock_of_somebody_else_is_left_as_it_is(tmp_path, content):
    (tmp_path / 'lock').write_bytes(content)
    with pytest.raises(UserError, match="file 'lock' that no run has written"), locked(tmp_path):
        pass
    assert (tmp_path / 'lock').read_bytes() == content


@pytest.mark.parametrize('content', [b'', b'proc', b'process 1 on another\n'])
def test_a_lock_that_a_run_has_left_is_taken_over(tmp_path, content):
    (tmp_path / 'lock').write_bytes(content)
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / 'lock').read_text()


def test_another_run_in_a_folder_that_was_created_hides_no_error(tmp_path):
    def fails():
        with locked(tmp_path / 'runs' / 'a'):
            (tmp_path / 'runs' / 'b').mkdir()
            raise UserError('wrong')

    with pytest.raises(UserError, match='wrong'):
        fails()
    assert [path.name for path in (tmp_path / 'runs').iterdir()] == ['b']


def test_the_lock_is_closed_before_its_folder_is_removed(tmp_path, monkeypatch):
    # NFS keeps an open file under another name, and then the folder is not empty.
    open_files = []
    rmdir = Path.rmdir

    def checked(folder):
        open_files.extend(path for path in Path('/proc/self/fd').iterdir() if _is_lock(path))
        rmdir(folder)

    def _is_lock(descriptor):
        return descriptor.is_symlink() and str(tmp_path) in str(descriptor.readlink())

    monkeypatch.setattr(Path, 'rmdir', checked)
    with locked(tmp_path / 'run'):
        pass
    assert not open_files
    assert not (tmp_path / 'run').exists()


def test_a_finished_run_may_be_where_nothing_can_be_written(tmp_path, monkeypatch):
    def refuse(path, flags, mode):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    # Root may write everywhere.
    monkeypatch.setattr('contrastive_jax.runs.workdir.os.open', refuse)
    with pytest.raises(UserError, match='cannot be written'), locked(tmp_path):
        pass
    (tmp_path / RESULT).write_text('{}')
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [RESULT]


@pytest.mark.parametrize(
    'change', [lambda text: '\ufeff' + text, lambda text: text.replace('\n', '\r\n')]
)
def test_a_sealed_file_that_an_editor_saved_again_is_read(change, tmp_path):
    path = tmp_path / 'config.json'
    write_sealed_json(path, {'a': 1, 'b': [2]})
    path.write_bytes(change(path.read_text()).encode())
    assert read_json(path) == {'a': 1, 'b': [2]}
    path.write_bytes(path.read_bytes().replace(b'2', b'3'))
    with pytest.raises(UserError, match='damaged, or changed by hand'):
        read_json(path)
