"""Images in folders: JPEG and PNG files, a folder a class, in any of four layouts.

- `train/<class>/...` with `test/<class>/...` or `val/<class>/...`;
- TinyImageNet: the same, with `val/images/` and the classes in `val/val_annotations.txt`;
- `<class>/...` alone: a tenth of each class is held out for tests;
- images alone: no classes, a tenth is held out.

Axes: n files.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from contrastive_jax import progress
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError

__all__ = ['Files', 'check_broken', 'check_shapes', 'find', 'look', 'read_image', 'stored']

_SUFFIXES = {'.jpg', '.jpeg', '.png'}
_GREY = {'1', 'L', 'I', 'I;16', 'I;16B', 'I;16L', 'F'}
_HELD_OUT = 10
_ANNOTATIONS = 'val_annotations.txt'


class Files(NamedTuple):
    """Image files of one split.

    Attributes:
      paths: n of them, sorted, so that their order is the same everywhere.
      labels: `[n]` int32, or None.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray | None


def find(root: Path, where: str) -> tuple[Files, Files, tuple[str, ...]]:
    """Finds the training and test files of a folder, and the names of their classes.

    Args:
      root: the folder.
      where: the field that named it, for messages.

    Raises:
      UserError: no images, an empty class, classes in tests that training does not know.
    """
    train_root = root / 'train'
    if not train_root.is_dir():
        files, classes = _labelled(root, where)
        return *_hold_out(files), classes
    train, classes = _labelled(train_root, where)
    tests = [root / name for name in ('test', 'val') if (root / name).is_dir()]
    annotated = [folder for folder in tests if (folder / _ANNOTATIONS).is_file()]
    if annotated:
        return train, _annotated(annotated[0], classes, where), classes
    if tests:
        return train, _tests(tests[0], classes, where), classes
    return *_hold_out(train), classes


def _tests(root: Path, classes: tuple[str, ...], where: str) -> Files:
    """Files of a folder with some of the classes, or, where there are none, all of its images."""
    if not classes:
        return _labelled(root, where)[0]._replace(labels=None)
    folders = _class_folders(root)
    unknown = [folder.name for folder in folders if folder.name not in classes]
    if unknown or not folders:
        raise UserError(
            f'{where}: {root.name} has {f"the class {unknown[0]!r}" if unknown else "no classes"}, '
            f'and train has {", ".join(classes[:5])}; both need the same folders'
        )
    found = [(path, classes.index(folder.name)) for folder in folders for path in _images(folder)]
    return Files(
        tuple(path for path, _ in found), np.array([label for _, label in found], np.int32)
    )


def _class_folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != '.')


def _images(root: Path) -> list[Path]:
    """All images below a folder, in the order of their paths; hidden ones are not meant."""
    return sorted(
        path
        for path in root.rglob('*')
        if path.suffix.lower() in _SUFFIXES
        and not any(part.startswith('.') for part in path.relative_to(root).parts)
    )


def _labelled(root: Path, where: str) -> tuple[Files, tuple[str, ...]]:
    """Files of a folder of classes, or of a folder without any."""
    folders = _class_folders(root)
    found = {folder.name: _images(folder) for folder in folders}
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise UserError(
            f'{where}: the folder {root / empty[0]} holds no .jpg, .jpeg or .png '
            f'({len(empty)} such folders); fill it or delete it'
        )
    if len(folders) > 1:
        labels = np.repeat(np.arange(len(found)), [len(paths) for paths in found.values()])
        paths = tuple(path for paths in found.values() for path in paths)
        return Files(paths, labels.astype(np.int32)), tuple(found)
    if folders:
        print(f'{root}: one folder, {folders[0].name}, so there are no classes to tell apart.')
    paths = tuple(_images(root))
    if not paths:
        raise UserError(
            f'{where}: holds no .jpg, .jpeg or .png; give a folder of class folders, one of train/ '
            'and test/ or val/, or one of images'
        )
    return Files(paths, None), ()


def _annotated(root: Path, classes: tuple[str, ...], where: str) -> Files:
    """Files whose classes are in a table beside them: file name, class, and what is not needed."""
    table = root / _ANNOTATIONS
    lines = table.read_bytes().decode(errors='replace').splitlines()
    rows = [line.split('\t')[:2] for line in lines if line]
    unknown = [row for row in rows if len(row) < 2 or row[1] not in classes]
    if unknown:
        raise UserError(
            f'{where}: {table} has the line {unknown[0]}, whose class train has not; unpack again'
        )
    images = {path.name: path for path in _images(root / 'images')}
    strange = [name for name, _ in rows if name not in images]
    if strange or not rows or len(dict(rows)) < len(rows):
        problem = f'names {strange[0]!r}, which images/ has not' if strange else 'lists nothing'
        raise UserError(
            f'{where}: {table} {problem if strange or not rows else "names an image twice"}; '
            'unpack again'
        )
    rows.sort()
    paths = tuple(images[name] for name, _ in rows)
    return Files(paths, np.array([classes.index(name) for _, name in rows], np.int32))


def _hold_out(files: Files) -> tuple[Files, Files]:
    """A tenth of each class, at least one image, for tests; always the same ones."""
    labels = np.zeros(len(files.paths), int) if files.labels is None else files.labels
    order = np.random.default_rng(0).permutation(len(labels))
    members = [order[labels[order] == label] for label in np.unique(labels)]
    test = np.sort(np.concatenate([part[: max(1, len(part) // _HELD_OUT)] for part in members]))
    train = np.setdiff1d(np.arange(len(labels)), test)
    return _some(files, train), _some(files, test)


def _some(files: Files, places: np.ndarray) -> Files:
    labels = None if files.labels is None else files.labels[places]
    return Files(tuple(files.paths[place] for place in places), labels)


def _open(path: Path) -> Image.Image:
    """An image as RGB, or as L if it is grey; 16 bits become 8, transparency is dropped.

    Raises:
      OSError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode in _GREY - {'1', 'L'}:
                pixels = np.asarray(image).astype(np.float32)
                return Image.fromarray((pixels / 257).round().clip(0, 255).astype(np.uint8))
            if image.mode in _GREY:
                return image.convert('L')
            # A palette may hold transparency that only RGBA can take over.
            image = image.convert('RGBA') if image.mode in ('P', 'PA', 'LA') else image
            return image.convert('RGB')
    except Exception as error:  # Damaged files make Pillow raise errors of a dozen kinds.
        raise OSError(f'{type(error).__name__}: {error}') from error


def read_image(paths: tuple[Path, ...], mode: str, place: int) -> Image.Image:
    """The image of a place in a mode, as `StoredImages.read` wants it.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        image = _open(paths[place])
    except OSError as error:
        raise UserError(
            f'{paths[place]}: cannot be read ({error}); delete it, or set '
            'config.data.skip_broken=True and config.data.stream=False to leave such files out'
        ) from error
    return image if image.mode == mode else image.convert(mode)


class Looked(NamedTuple):
    """What the heads of files say.

    Attributes:
      files: those that are images.
      grey: whether all are grey.
      sizes: width and height, with a file that has them.
      broken: files that are no images.
    """

    files: Files
    grey: bool
    sizes: dict[tuple[int, int], Path]
    broken: int


def look(files: Files, where: str, *, skip_broken: bool) -> Looked:
    """Reads the head of every file, which is quick; damage further on shows when it is decoded.

    Args:
      files: to look at.
      where: the field that named them, for messages.
      skip_broken: leave out files that are no image.

    Raises:
      UserError: a file that is no image, or no file that is one.
    """
    grey, sizes, good, broken = True, {}, [], []
    for place, path in enumerate(progress.track(files.paths, 'look at images', unit='file')):
        try:
            with Image.open(path) as image:
                grey &= image.mode in _GREY
                sizes.setdefault(image.size, path)
            good.append(place)
        except Exception:  # As in `_open`.
            broken.append(path)
    check_broken(broken, skip_broken)
    if not good:
        raise UserError(f'{where}: no file can be read, {files.paths[0]} is the first')
    return Looked(_some(files, np.array(good)), grey, sizes, len(broken))


def stored(looked: Looked, root: Path, *, grey: bool, size: int) -> StoredImages:
    """The images of some files, scaled and cropped to squares of a size, in one mode."""
    paths = looked.files.paths
    names = ''.join(f'{path.relative_to(root)} {path.stat().st_size}\n' for path in paths)
    return StoredImages(
        partial(read_image, paths, 'L' if grey else 'RGB'),
        np.arange(len(paths)),
        hashlib.sha256(f'{size} {grey}\n{names}'.encode()).hexdigest(),
        size,
        1 if grey else 3,
    )


def check_broken(broken: list[Path], skip: bool) -> None:
    """Raises UserError if files are broken and none may be left out."""
    if broken and not skip:
        raise UserError(
            f'{broken[0]}: is no image that can be read ({len(broken)} such files); delete it, or '
            'set config.data.skip_broken=True to leave such files out'
        )


def check_shapes(sizes: dict[tuple[int, int], Path]) -> int:
    """The side of images that are all one square; raises UserError for others."""
    (first, path), *others = sizes.items()
    if others:
        size, other = others[0]
        raise UserError(
            f'{other}: is {size[0]} x {size[1]} pixels, and {path} {first[0]} x {first[1]}; set '
            'config.data.image_size to scale and crop them all'
        )
    if first[0] != first[1]:
        raise UserError(
            f'{path}: is {first[0]} x {first[1]} pixels; set config.data.image_size to cut squares'
        )
    return first[0]
