"""Where images come from: every source ends as uint8 images and integer labels.

Axes: n images, h w pixels, c channels.
"""

import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from contrastive_jax.data import image_files, layout
from contrastive_jax.data.class_folders import some
from contrastive_jax.data.image_files import BrokenImage
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import printable, read_arrays

__all__ = ['Dataset', 'Split', 'load']

# Images read at a time.
_CHUNK = 1000

# Labels of an npz file; one beyond is a mistake.
_LARGEST_LABEL = 2**31 - 1

_PREPARE = (
    'python -c "import tensorflow_datasets as tfds; '
    "tfds.builder('{name}', data_dir='DIR').download_and_prepare(file_format='array_record')\""
)


class Split(NamedTuple):
    """Images and, where known, their classes.

    Attributes:
      images: `[n, h, w, c]` uint8, in memory or left on disk.
      labels: `[n]` int32, or None.
      files: names of the n image files, relative to the data folder; None where images are not
        files.
    """

    images: np.ndarray | StoredImages
    labels: np.ndarray | None
    files: tuple[str, ...] | None = None


class Dataset(NamedTuple):
    """What one source holds.

    Attributes:
      train: images that the probes are trained on.
      test: images that they are tested on.
      classes: names.
      pretrain: images to pre-train on, most often those of `train`.
      skipped: broken images that were left out.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    pretrain: Split
    skipped: int = 0


def load(config) -> Dataset:
    """Reads the data that `config.data` names.

    Args:
      config: the section `data` of a config.

    Raises:
      UserError: unknown name, missing or unreadable files, images that are not uint8
        `[n, h, w, c]`, labels of another length.
    """
    loaders: dict[str, Callable] = {'digits': _digits, 'npz': _npz, 'folder': _folder}
    if config.name in ('digits', 'npz') and (config.stream or config.image_size):
        raise UserError(
            f'config.data.name={config.name!r}: is in memory as it is; leave config.data.stream at '
            'False and config.data.image_size at 0'
        )
    if config.stream and not config.image_size:
        raise UserError(
            'config.data.image_size=0: with config.data.stream=True set the side of the crops, '
            'such as 224'
        )
    dataset = loaders.get(config.name, _tfds)(config)
    for name in ('train', 'test', 'pretrain'):
        _check(getattr(dataset, name), f'config.data.name={config.name!r}, {name} split')
    if dataset.train.images.shape[1:] != dataset.test.images.shape[1:]:
        raise UserError(
            f'config.data.name={config.name!r}: training images are '
            f'{dataset.train.images.shape[1:]}, test images {dataset.test.images.shape[1:]}; '
            'both need one shape'
        )
    return dataset


def _check(split: Split, where: str) -> None:
    images, labels, _ = split
    if isinstance(images, StoredImages):
        return
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f'{where}: images are {images.dtype} {list(images.shape)}; need uint8 [n, h, w, c] '
            'with c 1 or 3 and values 0 to 255'
        )
    if images.size == 0:
        raise UserError(f'{where}: holds no images')
    if labels is not None and labels.shape != (len(images),):
        raise UserError(
            f'{where}: labels are {list(labels.shape)} for {len(images)} images; need [n]'
        )


def _digits(config) -> Dataset:
    """The 1,797 digits of 8 x 8 pixels in scikit-learn, a fixed quarter of each class for tests."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=0, stratify=labels
    )
    train = Split(train_images, train_labels)
    return Dataset(
        train, Split(test_images, test_labels), tuple(str(digit) for digit in range(10)), train
    )


def _npz(config) -> Dataset:
    """A file with `train_images`, `test_images` and, where known, their labels."""
    path = Path(config.data_dir or '')
    if not path.is_file():
        raise UserError(
            f'config.data.data_dir={config.data_dir!r}: no such file; with config.data.name=npz it '
            'is an npz file with train_images, train_labels, test_images, test_labels'
        )
    try:
        loaded = read_arrays(path)
    except UserError as error:
        raise UserError(
            f'config.data.data_dir={error}; write it with numpy.savez_compressed'
        ) from error
    arrays = {} if isinstance(loaded, np.ndarray) else loaded
    missing = {'train_images', 'test_images'} - arrays.keys()
    if missing:
        raise UserError(
            f'config.data.data_dir={config.data_dir!r}: lacks {", ".join(sorted(missing))}; '
            f'holds {", ".join(sorted(arrays)) or "nothing"}'
        )
    splits = ('train', 'test')
    labels = [_integers(arrays.get(f'{split}_labels'), path, split) for split in splits]
    numbers, classes = _numbered(labels)
    train, test = (
        Split(arrays[f'{split}_images'], number)
        for split, number in zip(splits, numbers, strict=True)
    )
    return Dataset(train, test, classes, train)


def _integers(labels: np.ndarray | None, path: Path, split: str) -> np.ndarray | None:
    if labels is None:
        return None
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or np.any(labels < 0) or np.any(labels > _LARGEST_LABEL):
        ends = f' from {labels.min()} to {labels.max()}' if whole else ''
        raise UserError(
            f'config.data.data_dir={str(path)!r}: {split}_labels are {labels.dtype}{ends}; '
            f'need integers from 0 to {_LARGEST_LABEL}'
        )
    return labels.astype(np.int64)


def _numbered(
    labels: list[np.ndarray | None],
) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Labels numbered from 0 by their value, over all splits together, and these values as names.

    Labels that are 0 to c - 1 already stay as they are.
    """
    known = [np.zeros(0, np.int64), *(part.ravel() for part in labels if part is not None)]
    values = np.unique(np.concatenate(known))
    numbers = [
        None if part is None else np.searchsorted(values, part).astype(np.int32) for part in labels
    ]
    return numbers, tuple(map(str, values.tolist()))


def _folder(config) -> Dataset:
    """Image files in a folder, see `layout`."""
    where = f'config.data.data_dir={config.data_dir!r}'
    root = Path(config.data_dir or '')
    if config.data_dir is None or not root.is_dir():
        raise UserError(
            f'{where}: no such folder; with config.data.name=folder it holds train/ and test/ or '
            'val/ with a folder for each class, or class folders alone, or images'
        )
    found = layout.find(root, where)
    print(f'data: {found.summary}')
    options = {'max_pixels': config.max_pixels}
    looked = [
        image_files.look(files, where, skip_broken=config.skip_broken, **options)
        for files in (found.train, found.test)
    ]
    image_files.warn_of_range([path for split in looked for path in split.deep], **options)
    broken = [error for split in looked for error in split.broken]
    sizes = {size: path for split in looked for size, path in split.sizes.items()}
    options['size'] = config.image_size or image_files.check_shapes(sizes)
    options['grey'] = all(split.grey for split in looked)
    splits = []
    for split in looked:
        images, good = image_files.stored(split, root, **options), np.arange(len(split.files.paths))
        if not config.stream:
            images, good, unread = _read_all(images, where, config.skip_broken)
            broken += unread
        paths, labels = some(split.files, good)
        names = tuple(printable(path.relative_to(root).as_posix()) for path in paths)
        splits.append(Split(images, labels, names))
    if broken:
        print(image_files.left_out(broken))
    return Dataset(*splits, found.classes, splits[0], len(broken))


def _read_all(
    images: StoredImages, where: str, skip: bool
) -> tuple[np.ndarray, np.ndarray, list[BrokenImage]]:
    """Reads stored images into memory.

    Args:
      images: n of them.
      where: the field that named them, for messages.
      skip: leave out those that cannot be read.

    Returns:
      `[m, s, s, c]` pixels, `[m]` indices of the images that they belong to, and the errors of the
      others.
    """
    _check_memory(images, where)
    pixels, good, broken = np.empty(images.shape, np.uint8), [], []
    chunks = range(0, len(images), _CHUNK)
    for start in progress.track(chunks, 'read images', unit='chunk', leave=True):
        chunk = range(start, min(start + _CHUNK, len(images)))
        try:
            pixels[chunk.start : chunk.stop] = images[chunk.start : chunk.stop]
            good += chunk
        except BrokenImage:
            if not skip:
                raise
            for index in chunk:
                try:
                    pixels[index] = images[index : index + 1][0]
                    good.append(index)
                except BrokenImage as error:
                    broken.append(error)
    return (pixels[good] if broken else pixels), np.array(good, int), broken


def _check_memory(images: StoredImages, where: str) -> None:
    needed = math.prod(images.shape)
    try:
        free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):  # not every system tells
        return
    if needed > free:
        raise UserError(
            f'{where}: {len(images)} images of {images.size} pixels take {needed / 2**30:.1f} GiB '
            f'of memory, and {free / 2**30:.1f} are free; set config.data.stream=True or a smaller '
            'config.data.image_size'
        )


def _tfds(config) -> Dataset:
    """An image classification data set of TFDS, without TensorFlow.

    With `data_dir` it is only read, so a wrong folder fails at once; without, TFDS looks in its own
    folder and downloads.
    """
    import tensorflow_datasets as tfds

    where = f'config.data.data_dir={config.data_dir!r}'
    prepare = _PREPARE.format(name=config.name)
    if config.data_dir is not None and not Path(config.data_dir).is_dir():
        raise UserError(f'{where}: no such folder; to prepare one, run {prepare}')
    if config.data_dir is None and tfds.core.constants.DATA_DIR.startswith('~'):
        raise UserError(
            f'{where}: this user has no home folder to keep data sets in; give a folder, or set '
            'TFDS_DATA_DIR'
        )
    try:
        builder = tfds.builder(config.name, data_dir=config.data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(
            f'config.data.name={config.name!r}: must be digits, npz, folder, or the name of an '
            'image data set of TFDS such as cifar10'
        ) from error
    if not builder.is_prepared():
        if config.data_dir is not None:
            raise UserError(
                f'{where}: holds no prepared {config.name}; to prepare it, on a machine with '
                f'network, run {prepare}'
            )
        _check_disk(builder, config)
        try:
            builder.download_and_prepare(file_format='array_record')
        except Exception as error:
            raise UserError(
                f'config.data.name={config.name!r}: cannot be downloaded ({error}); prepare it on '
                f'a machine with network, {prepare}, and give DIR as config.data.data_dir'
            ) from error
    features, splits = builder.info.features, builder.info.splits
    missing = [name for name in ('image', 'label') if name not in features]
    tests = [name for name in ('test', 'validation') if name in splits]
    if missing or 'train' not in splits or not tests:
        raise UserError(
            f'config.data.name={config.name!r}: has the features {", ".join(features)} and the '
            f'splits {", ".join(splits)}; need image, label, train, and test or validation'
        )
    try:
        train, test = (_tfds_split(builder, split, config) for split in ('train', tests[0]))
        pretrain = train
        if 'unlabelled' in splits and not config.stream:
            more = _tfds_split(builder, 'unlabelled', config)
            pretrain = Split(np.concatenate([train.images, more.images]), None)
        elif 'unlabelled' in splits:
            pretrain = _tfds_split(builder, 'unlabelled', config)._replace(labels=None)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f'{where}: {config.name} cannot be read ({type(error).__name__}: {error}); '
            f'prepare it again with {prepare}'
        ) from error
    return Dataset(train, test, tuple(features['label'].names), pretrain)


def _check_disk(builder, config) -> None:
    """Raises UserError if a download and what is made of it cannot fit."""
    needed = int(builder.info.download_size or 0) + int(builder.info.dataset_size or 0)
    folder = Path(builder.data_path)
    free = shutil.disk_usage(next(path for path in folder.parents if path.exists())).free
    if needed > free:
        raise UserError(
            f'config.data.name={config.name!r}: needs {needed / 2**30:.1f} GiB on the disk of '
            f'{folder.parent}, and {free / 2**30:.1f} are free; make room, or set TFDS_DATA_DIR to '
            'a folder on another disk'
        )


def _tfds_split(builder, split: str, config) -> Split:
    """A split as it is, or scaled and cropped to squares, in memory or on disk."""
    if not config.image_size:
        return _tfds_as_it_is(builder, split)
    import tensorflow_datasets as tfds

    # Labels alone first: skipping the images makes this quick.
    heads = builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})
    labels = np.array([heads[place]['label'] for place in range(len(heads))], np.int32)
    channels = builder.info.features['image'].shape[-1]
    images = StoredImages(
        partial(_tfds_image, builder.as_data_source(split)),
        np.arange(len(labels)),
        f'{builder.info.full_name} {split} {config.image_size}',
        config.image_size,
        channels,
    )
    if not config.stream:
        images, *_ = _read_all(images, f'config.data.name={config.name!r}', skip=False)
    return Split(images, labels)


def _tfds_image(source, place: int) -> Image.Image:
    return Image.fromarray(source[place]['image'].squeeze())


def _tfds_as_it_is(builder, split: str) -> Split:
    source = builder.as_data_source(split)
    images, labels = [], []
    chunks, name = range(0, len(source), _CHUNK), f'read {builder.name} {split}'
    for start in progress.track(chunks, name, unit='chunk', leave=True):
        for example in source.__getitems__(range(start, min(start + _CHUNK, len(source)))):
            if images and example['image'].shape != images[0].shape:
                raise UserError(
                    f'config.data.name={builder.name!r}: images are of several shapes, '
                    f'{list(images[0].shape)} and {list(example["image"].shape)}; set '
                    'config.data.image_size to scale and crop them all'
                )
            images.append(example['image'])
            labels.append(example['label'])
    return Split(np.stack(images), np.asarray(labels, np.int32))
