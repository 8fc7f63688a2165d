import json

import pytest
from PIL import Image

from contrastive_jax import main
from contrastive_jax.errors import UserError
from contrastive_jax.runs.workdir import RESULT, check_outside_data, locked
from contrastive_jax.runtime.files import printable, read_text, write_sealed_json
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


def test_a_finished_run_may_be_where_nothing_can_be_written(tmp_path):
    # Root may write everywhere, but opens no folder as a file.
    (tmp_path / 'lock').mkdir()
    with pytest.raises(UserError, match='cannot be written'), locked(tmp_path):
        pass
    (tmp_path / RESULT).write_text('{}')
    with locked(tmp_path):
        pass
