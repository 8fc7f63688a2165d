import os

import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.outputs import check_out, picture_suffixes
from tests import processes

NAMES = ('one.npz', 'two.png')


def _here(tmp_path):
    """What is there, and what a file holds."""
    return {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')}


@pytest.mark.parametrize('out', ['new', 'new/below/it', '.'])
def test_a_folder_that_can_be_made_is_fine_and_is_not_made_yet(tmp_path, out):
    before = _here(tmp_path)
    check_out(tmp_path / out, names=NAMES)
    assert _here(tmp_path) == before


def test_of_many_files_that_are_there_three_are_named(tmp_path):
    names = [f'{number}.pdf' for number in range(39)]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r'holds 0\.pdf, 1\.pdf, 2\.pdf and 36 more already;'):
        check_out(tmp_path, names=names, flag='paper')


@pytest.mark.parametrize(
    ('out', 'words'),
    [
        ('file', 'it is a file; give a folder'),
        ('file/below', r"/file' is a file; give a folder"),
        ('broken', 'it is a file; give a folder'),
        ('taken', r'holds one\.npz already; replace them with --overwrite, or give another --out'),
        ('folders', r'two\.png in it is a folder'),
        ('x' * 300, 'cannot be written'),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, out, words):
    (tmp_path / 'file').write_text('precious')
    (tmp_path / 'broken').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'one.npz').write_text('precious')
    (tmp_path / 'folders' / 'two.png').mkdir(parents=True)
    before = _here(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        check_out(tmp_path / out, names=NAMES)
    assert str(error.value).startswith('--out=')
    assert _here(tmp_path) == before
    if out == 'taken':
        check_out(tmp_path / out, names=NAMES, overwrite=True)
    else:
        with pytest.raises(UserError, match=words):
            check_out(tmp_path / out, names=NAMES, overwrite=True)


@pytest.mark.parametrize(
    ('out', 'words'),
    [
        ('.', 'it is a folder; give a file'),
        ('no/a.json', r"/no' does not exist; make it, or give another --out"),
        ('file/a.json', "/file' is a file"),
        ('a', r'must end in \.json'),
        ('a.webm', r'must end in \.json'),
        ('taken.json', r'exists already; replace it with --overwrite'),
        ('broken.json', r'exists already'),
        ('x' * 300 + '.json', 'cannot be written'),
        ('x' * 249 + '.json', 'cannot be written'),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path, out, words):
    (tmp_path / 'file').write_text('precious')
    (tmp_path / 'taken.json').write_text('precious')
    (tmp_path / 'broken.json').symlink_to(tmp_path / 'nowhere')
    before = _here(tmp_path)
    with pytest.raises(UserError, match=words):
        check_out(tmp_path / out, suffixes=('.json',))
    assert _here(tmp_path) == before


@pytest.mark.parametrize('name', ['a.json', 'A.JSON'])
def test_a_file_in_a_folder_that_is_there_is_fine(tmp_path, name):
    check_out(tmp_path / name, suffixes=('.json',))
    (tmp_path / name).write_text('old')
    check_out(tmp_path / name, suffixes=('.json',), overwrite=True)


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, os.strerror(13))

    # Root, who may run this, is allowed to do everything.
    monkeypatch.setattr('tempfile.TemporaryFile', refuse)
    for options in ({'names': NAMES}, {'suffixes': ('.json',)}):
        with pytest.raises(UserError, match=r'cannot be written \(Permission denied\)'):
            check_out(tmp_path / 'a.json', **options)


def test_pictures_are_those_of_matplotlib():
    assert {'.png', '.pdf', '.svg', '.jpg'} <= set(picture_suffixes())
    assert '.webm' not in picture_suffixes()


MODEL = {'num_classes': 4, 'samples_per_class': 20, 'difficult_per_class': 4}
COMMANDS = {
    'score': (['--features=nowhere.npy'], 'out'),
    'report': (['nowhere'], 'out'),
    'verify': (['--workdir=nowhere'], 'out'),
    'probe': (['--features=nowhere.npz'], 'probe.json'),
    'export': (['--workdir=nowhere', '--format=torch'], 'encoder.safetensors'),
    'views': (['--config=configs/digits.py'], 'views.png'),
    'bounds': (
        [f'--{name}={value}' for name, value in MODEL.items()]
        + ['--alpha=0.6', '--beta=0.1', '--gamma=0.35'],
        'bounds.png',
    ),
}


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_says_in_one_line_what_is_wrong_with_out(command, tmp_path):
    arguments, out = COMMANDS[command]
    (tmp_path / 'file').write_text('')
    wrong = tmp_path / 'file' / out
    done = processes.command(command, *arguments, f'--out={wrong}', '--overwrite')
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: --out='{wrong}': ")
    assert len(done.stderr.splitlines()) == 1
