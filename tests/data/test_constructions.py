import numpy as np
import pytest

from contrastive_jax.data.constructions import construct
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.data.sources import Split
from contrastive_jax.data.stored import StoredImages, array_checksum
from contrastive_jax.errors import UserError
from tests.helpers import small_config

N = 20


@pytest.fixture
def train():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 4, 4, 1), dtype=np.uint8)
    return Split(images, (np.arange(N) % 2).astype(np.int32))


def _file(tmp_path, train, **columns):
    path = tmp_path / 'scores.npz'
    write_scores(path, ScoreFile(columns, array_checksum(train.images)))
    return str(path)


def test_nothing_configured_changes_nothing(train):
    built = construct(small_config(), train)
    assert built.split.images is train.images
    assert built.split.labels is train.labels
    summary = built.summary(('a', 'b'))
    assert summary['removed'] == summary['mixed'] == 0
    assert summary['removed_by_class'] == {'a': 0, 'b': 0}


def test_the_most_difficult_are_left_out(train, tmp_path):
    path = _file(tmp_path, train, score=np.arange(N) / N)
    config = small_config(removal__ratio=0.25, removal__scores=path)
    built = construct(config, train)
    np.testing.assert_array_equal(built.kept, np.arange(15))
    np.testing.assert_array_equal(built.split.images, train.images[:15])
    np.testing.assert_array_equal(built.split.labels, train.labels[:15])
    assert len(built.whole.images) == N
    summary = built.summary(('a', 'b'))
    assert summary['removed'] == 5
    assert summary['removed_by_class'] == {'a': 2, 'b': 3}
    assert summary['kept_checksum'] == array_checksum(np.arange(15))


def test_sas_leaves_out_the_same_part_of_each_latent_class(train, tmp_path):
    latent = np.repeat([0, 1], 10)
    path = _file(tmp_path, train, score=np.zeros(N), sas=np.arange(N) / N, latent_class=latent)
    config = small_config(removal__method='sas', removal__ratio=0.3, removal__scores=path)
    kept = construct(config, train).kept
    np.testing.assert_array_equal(kept, [*range(7), *range(10, 17)])


def test_random_needs_no_scores_and_follows_the_seed(train):
    kept = [
        construct(small_config(removal__method='random', removal__ratio=0.5, seed=seed), train).kept
        for seed in (0, 0, 1)
    ]
    assert len(kept[0]) == 10
    np.testing.assert_array_equal(kept[0], kept[1])
    assert not np.array_equal(kept[0], kept[2])


def test_scores_of_ones_own_are_an_array(train, tmp_path):
    path = tmp_path / 'mine.npy'
    np.save(path, -np.arange(N))
    config = small_config(removal__method='file', removal__ratio=0.1, removal__scores=str(path))
    np.testing.assert_array_equal(construct(config, train).kept, np.arange(2, N))


def test_dropped_images_are_those_that_would_be_mixed(train):
    mixed = construct(small_config(mixed__ratio=0.3), train)
    dropped = construct(small_config(mixed__ratio=0.3, mixed__drop=True), train)
    assert len(mixed.mixed) == 6
    np.testing.assert_array_equal(mixed.mixed, dropped.mixed)
    np.testing.assert_array_equal(dropped.kept, np.setdiff1d(np.arange(N), mixed.mixed))
    np.testing.assert_array_equal(dropped.whole.images, train.images)
    changed = np.any(mixed.whole.images != train.images, axis=(1, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(changed), mixed.mixed)


def test_dropped_images_of_a_long_tail_are_of_the_tail(train):
    options = {'long_tail__factor': 5.0, 'mixed__ratio': 0.5}
    mixed, dropped = (
        construct(small_config(**options, mixed__drop=drop), train) for drop in (False, True)
    )
    np.testing.assert_array_equal(dropped.mixed, mixed.mixed)
    np.testing.assert_array_equal(dropped.partners, mixed.partners)


def test_removed_and_dropped_images_are_available_without_that(train):
    options = {'mixed__ratio': 0.5, 'mixed__drop': True, 'removal__method': 'random'}
    built = construct(small_config(**options, removal__ratio=0.5), train)
    assert (built.available, len(built.kept)) == (20, 5)


def test_removal_takes_its_ratio_of_what_mixing_left(train, tmp_path):
    path = _file(tmp_path, train, score=np.arange(N) / N)
    options = {'removal__ratio': 0.5, 'removal__scores': path}
    built = construct(small_config(mixed__ratio=0.3, mixed__drop=True, **options), train)
    left = np.setdiff1d(np.arange(N), built.mixed)
    np.testing.assert_array_equal(built.kept, left[:7])
    assert built.summary(('a', 'b'))['removed'] == 13


def _part(tmp_path, train, index):
    """A file with a score for some images alone: the higher the index, the more difficult."""
    path = tmp_path / 'part.npz'
    columns = {'score': index / N, 'sas': index / N, 'latent_class': index % 2}
    write_scores(path, ScoreFile(columns, array_checksum(train.images), index))
    return str(path)


@pytest.mark.parametrize('method', ['difficulty', 'sas', 'file'])
def test_removal_from_a_long_tail_needs_scores_of_the_tail_alone(train, tmp_path, method):
    tail = construct(small_config(long_tail__factor=5.0), train).kept
    assert len(tail) == 12
    path = _part(tmp_path, train, tail)
    options = {'removal__method': method, 'removal__ratio': 0.25, 'removal__scores': path}
    kept = construct(small_config(long_tail__factor=5.0, **options), train).kept
    # SAS leaves out a quarter of each latent class.
    groups = [tail[tail % 2 == c] for c in (0, 1)] if method == 'sas' else [tail]
    expected = np.concatenate([group[: len(group) - len(group) // 4] for group in groups])
    np.testing.assert_array_equal(kept, np.sort(expected))


def test_images_without_a_score_are_counted_and_the_way_out_is_said(train, tmp_path):
    tail = construct(small_config(long_tail__factor=5.0), train).kept
    path = _part(tmp_path, train, tail)
    options = {'removal__ratio': 0.25, 'removal__scores': path}
    first = np.setdiff1d(np.arange(N), tail)[0]
    words = rf'no score for 8 of the 20 images .* first image {first}; .*with --all'
    with pytest.raises(UserError, match=words):
        construct(small_config(**options), train)
    # What mixing leaves out needs no score either.
    left = construct(small_config(mixed__ratio=0.3, mixed__drop=True), train).kept
    options['removal__scores'] = _part(tmp_path, train, left)
    kept = construct(small_config(mixed__ratio=0.3, mixed__drop=True, **options), train).kept
    np.testing.assert_array_equal(kept, left[:11])


def test_scores_of_other_images_are_refused(train, tmp_path):
    path = _file(tmp_path, train, score=np.zeros(N))
    other = train._replace(images=train.images[::-1])
    config = small_config(removal__ratio=0.1, removal__scores=path)
    with pytest.raises(UserError, match=r'config\.removal\.scores=.*other images.*score this data'):
        construct(config, other)
    with pytest.raises(UserError, match=r'other images'):
        construct(small_config(mixed__ratio=0.5, removal__ratio=0.1, removal__scores=path), train)
    with pytest.raises(UserError, match=r'index is \[20\], and there are 19 training images'):
        construct(config, Split(train.images[1:], train.labels[1:]))


@pytest.mark.parametrize(
    ('method', 'arrays', 'words'),
    [
        ('difficulty', {'score': np.zeros(N)}, 'checksum of the images is missing'),
        ('sas', {'score': np.zeros(N), 'sas': np.zeros(N)}, 'latent_class is missing'),
        ('file', {'values': np.zeros(N)}, 'holds no array "score", only values'),
        ('file', {'score': np.full(N, np.nan)}, 'score holds NaN'),
        ('file', {'score': np.zeros((N, 2))}, r'score is \[20, 2\]'),
    ],
)
def test_a_file_that_lacks_something_is_refused(train, tmp_path, method, arrays, words):
    path = tmp_path / 'scores.npz'
    np.savez(path, **arrays)
    config = small_config(removal__method=method, removal__ratio=0.1, removal__scores=str(path))
    with pytest.raises(UserError, match=words):
        construct(config, train)


@pytest.mark.parametrize('content', [None, b'', b'not an array'])
def test_a_file_that_cannot_be_read_is_named(train, tmp_path, content):
    path = tmp_path / 'scores.npz'
    if content is not None:
        path.write_bytes(content)
    config = small_config(removal__ratio=0.1, removal__scores=str(path))
    with pytest.raises(UserError, match=r'config\.removal\.scores=.*cannot be read'):
        construct(config, train)


@pytest.mark.parametrize('labels', [None, np.zeros(N, np.int32)])
def test_mixing_needs_two_classes(train, labels):
    with pytest.raises(UserError, match=r'config\.mixed\.ratio=0\.1.*leave it at 0'):
        construct(small_config(mixed__ratio=0.1), train._replace(labels=labels))


def test_a_long_tail_is_cut_before_mixing_and_removal(train):
    options = {'long_tail__factor': 5.0, 'mixed__ratio': 0.5}
    config = small_config(**options, removal__method='random', removal__ratio=0.25)
    tail = construct(small_config(long_tail__factor=5.0), train)
    counts = np.bincount(tail.split.labels)
    assert sorted(counts) == [2, 10]
    built = construct(config, train)
    assert np.isin(built.mixed, tail.kept).all()
    assert np.isin(built.partners, tail.kept).all()
    assert len(built.mixed) == 6
    assert len(built.kept) == 9
    assert np.isin(built.kept, tail.kept).all()
    # What counts as removed is all that is not trained on.
    assert built.summary(('a', 'b'))['removed'] == 11
    # Equal updates are those of the whole tail.
    assert built.available == len(tail.kept) == tail.available == 12


def test_a_long_tail_needs_labels(train):
    with pytest.raises(UserError, match=r'config\.long_tail\.factor=5\.0: needs labels'):
        construct(small_config(long_tail__factor=5.0), train._replace(labels=None))


def _listed(tmp_path, text, ratio):
    path = tmp_path / 'samples.csv'
    path.write_text(text)
    return small_config(removal__method='file', removal__ratio=ratio, removal__scores=str(path))


def test_images_that_a_list_names_are_left_out(train, tmp_path):
    config = _listed(tmp_path, 'index,score,file\n3,0.5,"a, b"\n11,0.4,c\n', 0.1)
    built = construct(config, train)
    np.testing.assert_array_equal(built.kept, np.setdiff1d(np.arange(N), [3, 11]))


def test_the_ratio_that_the_message_gives_is_taken(tmp_path):
    # Shares of 1,347 images have no short decimal.
    many = Split(np.zeros((1347, 1, 1, 1), np.uint8), None, None)
    for count in (1, 15, 16, 700, 1346):
        rows = ''.join(f'{row}\n' for row in range(count))
        (tmp_path / 'samples.csv').write_text('index\n' + rows)
        options = {'removal__method': 'file', 'removal__scores': str(tmp_path / 'samples.csv')}
        with pytest.raises(UserError, match=f'names {count} of the 1347') as caught:
            construct(small_config(**options, removal__ratio=0.333), many)
        ratio = float(str(caught.value).rpartition('=')[2])
        assert len(construct(small_config(**options, removal__ratio=ratio), many).kept) == (
            1347 - count
        )


def test_a_list_of_all_images_is_no_list(train, tmp_path):
    (tmp_path / 'samples.csv').write_text('index\n' + ''.join(f'{row}\n' for row in range(20)))
    options = {'removal__method': 'file', 'removal__scores': str(tmp_path / 'samples.csv')}
    with pytest.raises(UserError, match='names all 20 images'):
        construct(small_config(**options, removal__ratio=0.5), train)


def test_images_on_disk_can_be_dropped(train):
    options = {'mixed__ratio': 0.5, 'mixed__drop': True}
    memory = construct(small_config(**options), train)
    stored = StoredImages(lambda index: None, np.arange(20), 'x', 4, 1)
    disk = construct(small_config(**options), train._replace(images=stored))
    np.testing.assert_array_equal(disk.kept, memory.kept)
    np.testing.assert_array_equal(disk.partners, memory.partners)


@pytest.mark.parametrize(
    ('text', 'ratio', 'message'),
    [
        ('index\n3\n11\n', 0.2, r'names 2 of the 20 images.*give --config\.removal\.ratio=0\.1$'),
        ('number\n3\n', 0.1, 'needs a column "index" of whole numbers'),
        ('index\n3.5\n', 0.1, 'needs a column "index" of whole numbers'),
        ('index\n3\n20\n', 0.1, 'index is from 3 to 20'),
        ('index\n3\n3\n', 0.1, 'names an image twice'),
        ('index\n', 0.1, 'holds no scores'),
    ],
)
def test_lists_that_do_not_fit_are_refused(train, text, ratio, message, tmp_path):
    with pytest.raises(UserError, match=message):
        construct(_listed(tmp_path, text, ratio), train)


def test_a_list_of_images_that_are_not_trained_on_is_refused(train, tmp_path):
    config = _listed(tmp_path, 'index\n1\n2\n', 0.1)
    dropped = construct(small_config(mixed__ratio=0.5, mixed__drop=True), train).mixed
    (tmp_path / 'samples.csv').write_text('index\n' + '\n'.join(map(str, dropped[:2])))
    config.mixed.ratio, config.mixed.drop = 0.5, True
    with pytest.raises(UserError, match='names none of the 10 images that are trained on'):
        construct(config, train)


def test_scores_of_ones_own_are_for_training_images(train, tmp_path):
    np.save(tmp_path / 'scores.npy', np.ones(N + 2))
    (tmp_path / 'list.csv').write_text('index\n1\n')
    options = {'removal__ratio': 0.1, 'removal__method': 'file'}
    with pytest.raises(UserError, match='give a number for each training image'):
        construct(small_config(**options, removal__scores=str(tmp_path / 'scores.npy')), train)
    options['removal__method'] = 'difficulty'
    with pytest.raises(UserError, match=r'a list of images needs config\.removal\.method=file'):
        construct(small_config(**options, removal__scores=str(tmp_path / 'list.csv')), train)


def test_a_list_goes_by_files_where_images_are_files(train, tmp_path):
    files = tuple(f'{number:02}.png' for number in range(N))
    config = _listed(tmp_path, 'index,score,file\n4,0.5,03.png\n12,0.4,11.png\n', 0.1)
    built = construct(config, train._replace(files=files))
    np.testing.assert_array_equal(built.kept, np.setdiff1d(np.arange(N), [3, 11]))
