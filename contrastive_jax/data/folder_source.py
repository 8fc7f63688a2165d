"""The source `folder`: image files in folders. `layout` says which files are in which split."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from contrastive_jax.data import image_files, layout
from contrastive_jax.data.class_folders import some
from contrastive_jax.data.image_files import BrokenImage, Inspected
from contrastive_jax.data.reading import read_all
from contrastive_jax.data.splits import Dataset, Split
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import printable

__all__ = ['load_folder']

_ARCHIVES = ('.zip', '.tar', '.tgz', '.gz', '.bz2', '.xz', '.7z', '.rar')


def load_folder(config) -> Dataset:
    """The images below a folder, in memory or left on disk.

    Args:
      config: the section `data` of a config; `data_dir` is the folder.

    Returns:
      The images and their files. Labels are int32 indices into the sorted names of the classes, or
      None.

    Raises:
      UserError: a folder without images, or with two meanings; an image that cannot be read;
        images of several shapes without `image_size`.
    """
    where = f'config.data.data_dir={config.data_dir!r}'
    root = Path(config.data_dir or '')
    if root.is_file():
        suffix = root.suffix.lower()
        cure = 'set config.data.name=npz' if suffix == '.npz' else 'give the folder that it is in'
        if suffix in _ARCHIVES:
            cure = 'unpack it, and give the folder'
        raise UserError(f'{where}: is a file; {cure}')
    if config.data_dir is None or not root.is_dir():
        raise UserError(
            f'{where}: no such folder; with config.data.name=folder it holds train/ and test/ or '
            'val/ with a folder for each class, or class folders alone, or images'
        )
    files = layout.find(root, where)
    print(f'data: {files.line}')
    inspected = [
        image_files.inspect(
            split, where, skip_broken=config.skip_broken, max_pixels=config.max_pixels
        )
        for split in (files.train, files.test)
    ]
    deep = [path for split in inspected for path in split.deep]
    image_files.warn_of_range(deep, config.max_pixels)
    broken = [error for split in inspected for error in split.broken]
    sizes = {size: path for split in inspected for size, path in split.sizes.items()}
    options = {
        'grey': all(split.grey for split in inspected),
        'size': config.image_size or image_files.check_shapes(sizes),
        'max_pixels': config.max_pixels,
    }
    (train, *_), (test, *_) = splits = [
        _split(split, root, where, config, options) for split in inspected
    ]
    broken += [error for _, unreadable in splits for error in unreadable]
    if broken:
        print(image_files.left_out(broken))
    return Dataset(train, test, files.classes, train, len(broken), files.held_out)


def _split(
    inspected: Inspected, root: Path, where: str, config, options: Mapping
) -> tuple[Split, list[BrokenImage]]:
    """One split, and the errors of the files that could not be decoded."""
    images: np.ndarray | StoredImages = image_files.stored(inspected, root, **options)
    readable = np.arange(len(images))
    broken: list[BrokenImage] = []
    if isinstance(images, StoredImages) and not config.stream:
        images, readable, broken = read_all(images, where, skip_broken=config.skip_broken)
    paths, labels = some(inspected.files, readable)
    names = tuple(printable(path.relative_to(root).as_posix()) for path in paths)
    return Split(images, labels, names), broken
