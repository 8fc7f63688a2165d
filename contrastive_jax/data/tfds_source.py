"""Image classification data sets of TFDS, read without TensorFlow.

Axes: n images.
"""

import difflib
import importlib.util
import re
import shutil
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from contrastive_jax.data.reading import CHUNK, read_all
from contrastive_jax.data.splits import Dataset, Split
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import progress

__all__ = ['load_tfds']

# Characters of a message of TFDS that are shown.
_LONGEST = 400

_PREPARE = (
    'python -c "import tensorflow_datasets as tfds; '
    "tfds.builder('{name}', data_dir='DIR').download_and_prepare(file_format='array_record')\""
)


def load_tfds(config) -> Dataset:
    """A data set that is prepared in `data_dir` or, without one, in the folder of TFDS.

    Only without `data_dir` may TFDS download, so a mistyped folder fails at once.

    Args:
      config: the section `data` of a config.

    Returns:
      The splits. Labels are int32 indices into the names of the classes that TFDS has, or None.

    Raises:
      UserError: an unknown name; a data set that is not prepared, cannot be read, or has no images
        with labels and no test split.
    """
    where = f'config.data.data_dir={config.data_dir!r}'
    prepare = _PREPARE.format(name=config.name)
    builder = _builder(config, where, prepare)
    if not builder.is_prepared():
        _prepare(builder, config, where, prepare)
        # What another run has prepared meanwhile, the first builder does not know.
        builder = _builder(config, where, prepare)
    try:
        return _read(builder, _test_split(builder, config), config)
    except UserError:
        raise
    except Exception as error:
        # TFDS leaves a prepared folder as it is, also one of another format.
        text = ' '.join(str(error).split())
        raise UserError(
            f'{where}: {config.name} cannot be read ({type(error).__name__}: {text}); prepare it '
            f'in another folder DIR, {prepare}, and give DIR as config.data.data_dir'
        ) from error


def _builder(config, where: str, prepare: str):
    import tensorflow_datasets as tfds

    if config.data_dir is not None and not Path(config.data_dir).is_dir():
        kind = 'is a file, not a folder' if Path(config.data_dir).is_file() else 'no such folder'
        raise UserError(f'{where}: {kind}; to prepare one, run {prepare}')
    if config.data_dir is None and tfds.core.constants.DATA_DIR.startswith('~'):
        raise UserError(
            f'{where}: this user has no home folder to keep data sets in; give a folder, or set '
            'TFDS_DATA_DIR'
        )
    try:
        return tfds.builder(config.name, data_dir=config.data_dir)
    # TFDS cannot parse some names, such as those with a hyphen, and asserts that versions exist.
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        raise UserError(_unknown_name(tfds, config.name, error)) from error


def _unknown_name(tfds, name: str, error: Exception) -> str:
    known = ['digits', 'npz', 'folder', *tfds.list_builders(with_community_datasets=False)]
    if re.split('[/:]', name)[0] in known:
        # Then it lacks the configuration or the version, and TFDS says which there are.
        return f'config.data.name={name!r}: {textwrap.shorten(str(error), _LONGEST)}'
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f'; did you mean {near[0]}?' if near else ''
    return (
        f'config.data.name={name!r}: must be digits, npz, folder, or the name of an image data set '
        f'of TFDS such as cifar10{hint}'
    )


def _prepare(builder, config, where: str, prepare: str) -> None:
    """Downloads a data set into the folder of TFDS, unless another run is quicker."""
    if config.data_dir is not None:
        raise UserError(
            f'{where}: holds no prepared {config.name}; to prepare it, on a machine with '
            f'network, run {prepare}'
        )
    _check_disk(builder, config)
    _check_tensorflow(builder, config, prepare)
    try:
        builder.download_and_prepare(file_format='array_record')
    except Exception as error:
        # TFDS refuses to replace what another run has prepared meanwhile.
        if builder.is_prepared():
            return
        # Reading needs no TensorFlow, but most data sets are prepared with it.
        lacks = isinstance(error, ImportError) and 'tensorflow' in str(error)
        first = 'install TensorFlow, with which TFDS prepares it, or ' if lacks else ''
        raise UserError(
            f'config.data.name={config.name!r}: cannot be downloaded ({error}); {first}prepare '
            f'it on a machine with network, {prepare}, and give DIR as config.data.data_dir'
        ) from error


def _check_tensorflow(builder, config, prepare: str) -> None:
    """Raises UserError, before anything is downloaded, if preparing will need what is missing."""
    # In TFDS, the modules of data sets that need TensorFlow have it under this name, and load it
    # when they use it.
    needs = hasattr(sys.modules.get(type(builder).__module__), 'tf')
    if needs and importlib.util.find_spec('tensorflow') is None:
        raise UserError(
            f'config.data.name={config.name!r}: TFDS prepares it with TensorFlow, which is not '
            f'installed; install it, or prepare the data set on another machine, {prepare}, and '
            'give DIR as config.data.data_dir. Reading it then needs no TensorFlow'
        )


def _check_disk(builder, config) -> None:
    """Raises UserError if the download and the files made from it do not fit."""
    needed = int(builder.info.download_size or 0) + int(builder.info.dataset_size or 0)
    folder = Path(builder.data_path)
    free = shutil.disk_usage(next(path for path in folder.parents if path.exists())).free
    if needed > free:
        raise UserError(
            f'config.data.name={config.name!r}: needs {needed / 2**30:.1f} GiB on the disk of '
            f'{folder.parent}, and {free / 2**30:.1f} are free; make room, or set TFDS_DATA_DIR to '
            'a folder on another disk'
        )


def _test_split(builder, config) -> str:
    """The name of the split to test on; a UserError if the data set lacks what a run needs."""
    features, splits = builder.info.features, builder.info.splits
    missing = [name for name in ('image', 'label') if name not in features]
    tests = [name for name in ('test', 'validation') if name in splits]
    if missing or 'train' not in splits or not tests:
        raise UserError(
            f'config.data.name={config.name!r}: has the features {", ".join(features)} and the '
            f'splits {", ".join(splits)}; need image, label, train, and test or validation'
        )
    # The test labels of some data sets are kept secret, and are -1.
    return next((name for name in tests if _has_labels(builder, name)), tests[0])


def _has_labels(builder, name: str) -> bool:
    labels = _undecoded(builder, name)
    return any(labels[index]['label'] >= 0 for index in range(len(labels)))


def _undecoded(builder, name: str):
    """A split whose labels are quickly read, because no image is decoded."""
    import tensorflow_datasets as tfds

    return builder.as_data_source(name, decoders={'image': tfds.decode.SkipDecoding()})


def _labelled(split: Split) -> Split:
    """The images of a split that have a label; all of them, without labels, if none has."""
    if split.labels is None:
        return split
    known = np.flatnonzero(split.labels >= 0)
    if len(known) == len(split.labels):
        return split
    if not len(known):
        return split._replace(labels=None)
    return split.take(known)


def _read(builder, test_name: str, config) -> Dataset:
    train, test = (_split(builder, name, config) for name in ('train', test_name))
    whole, train, test = train, _labelled(train), _labelled(test)
    pretrain = train if train is whole else whole._replace(labels=None)
    if 'unlabelled' in builder.info.splits:
        if config.stream:
            pretrain = _split(builder, 'train+unlabelled', config)._replace(labels=None)
        else:
            unlabelled = _split(builder, 'unlabelled', config)
            pretrain = Split(np.concatenate([whole.images, unlabelled.images]), None)
    return Dataset(train, test, tuple(builder.info.features['label'].names), pretrain)


def _split(builder, name: str, config) -> Split:
    """A split with its own pixels, or scaled and cropped to squares, in memory or on disk."""
    if not config.image_size:
        return _unscaled(builder, name)
    undecoded, source = _undecoded(builder, name), builder.as_data_source(name)
    labels = np.array([undecoded[index]['label'] for index in range(len(undecoded))], np.int32)
    if len(source):
        _check_pixels(source[0]['image'], builder.name)
    stored = StoredImages(
        partial(_image, source),
        np.arange(len(labels)),
        f'{builder.info.full_name} {name} {config.image_size}',
        config.image_size,
        builder.info.features['image'].shape[-1],
    )
    if config.stream:
        return Split(stored, labels)
    images, *_ = read_all(stored, f'config.data.name={config.name!r}', skip_broken=False)
    return Split(images, labels)


def _check_pixels(image: np.ndarray, name: str) -> None:
    """Raises UserError for pixels that scaling would change, such as those of 16 bits."""
    if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise UserError(
            f'config.data.name={name!r}: images are {image.dtype} {list(image.shape)}; need uint8 '
            '[h, w, c] with c 1 or 3; convert them, and save them as npz or as a folder of files '
            '(config.data.name)'
        )


def _image(source, index: int) -> Image.Image:
    pixels = source[index]['image']
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _unscaled(builder, name: str) -> Split:
    source = builder.as_data_source(name)
    images: list[np.ndarray] = []
    labels: list[int] = []
    starts = range(0, len(source), CHUNK)
    for start in progress.track(starts, f'read {builder.name} {name}', unit='chunk', leave=True):
        for example in source.__getitems__(range(start, min(start + CHUNK, len(source)))):
            if images and example['image'].shape != images[0].shape:
                raise UserError(
                    f'config.data.name={builder.name!r}: images are of several shapes, '
                    f'{list(images[0].shape)} and {list(example["image"].shape)}; set '
                    'config.data.image_size to scale and crop them all'
                )
            images.append(example['image'])
            labels.append(example['label'])
    return Split(np.stack(images), np.asarray(labels, np.int32))
