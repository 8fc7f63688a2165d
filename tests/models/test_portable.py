import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from contrastive_jax.errors import UserError
from contrastive_jax.models.portable import filled, read_portable, safetensors_bytes, write_portable

ARRAYS = {
    'encoder.stem.conv.kernel': np.arange(6, dtype=np.float32).reshape(2, 3),
    'encoder.stem.norm.mean': np.ones(5, np.float32),
    'scalar': np.full((), 3, np.float32),
    'turned': np.arange(6, dtype=np.float32).reshape(2, 3).T,
}
FACTS = {'step': '3', 'quoted': '"ä"\n'}


@pytest.fixture
def path(tmp_path):
    write_portable(tmp_path / 'a.safetensors', ARRAYS, FACTS)
    return tmp_path / 'a.safetensors'


def test_what_is_written_is_read(path):
    arrays, facts = read_portable(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert FACTS.items() <= facts.items()
    # By the library alone too.
    assert load_file(path).keys() == ARRAYS.keys()


def test_the_same_content_is_the_same_bytes():
    facts = {str(i): str(i) for i in range(20)}
    reversed_facts = dict(reversed(facts.items()))
    assert safetensors_bytes(ARRAYS, facts) == safetensors_bytes(ARRAYS, reversed_facts)


def _damage(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda content: content[:-4], 'only a part of one'),
        (lambda content: content[:6], 'only a part of one'),
        (lambda content: b'', 'only a part of one'),
        (lambda content: b'PK' + content, 'is no safetensors file'),
        (_damage, 'checksum of its arrays is another'),
        (
            lambda content: content.replace(b'"format_version":"1"', b'"format_version":"9"'),
            'newest',
        ),
        # Names of equal length, since the header says how long it is.
        (
            lambda content: content.replace(b'"format_version"', b'"formal_version"'),
            'damaged, or written by something else: its format_version is missing; copy it again',
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(path, change, words):
    content = path.read_bytes()
    changed = change(content)
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(UserError, match=words) as caught:
        read_portable(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value)


def test_a_file_of_something_else_is_refused(tmp_path):
    for facts in (None, {'format': 'pt'}):
        save_file(ARRAYS, tmp_path / 'b.safetensors', metadata=facts)
        with pytest.raises(UserError, match='of something else'):
            read_portable(tmp_path / 'b.safetensors')
    with pytest.raises(UserError, match='No such file'):
        read_portable(tmp_path / 'none.safetensors')
    with pytest.raises(UserError, match='Is a directory'):
        read_portable(tmp_path)


@pytest.mark.parametrize(
    ('arrays', 'words'),
    [
        ({}, 'a.b is missing'),
        ({'a.b': np.zeros(3, np.float32)}, r'a\.b is float32 \[3\], .* float32 \[2\]'),
        ({'a.b': np.zeros(2, np.float64)}, r'a\.b is float64 \[2\]'),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays, words):
    with pytest.raises(ValueError, match=words):
        filled({'a': {'b': np.zeros(2, np.float32)}}, arrays)
