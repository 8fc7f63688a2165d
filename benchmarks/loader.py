"""Reading from disk: batches a second of the loader, beside the rate at which files can be decoded.

    python -m benchmarks.loader --folder /tmp/jpegs --data_dir DIR --files 20000

Makes the files where the folder lacks them: CIFAR-10 images, enlarged to 256 pixels. Decoding alone
and the loader run in turn, on the same files; rates as ratios. The ceiling decodes each file
once and crops it twice in as many processes, and sends nothing.
"""

import argparse
import multiprocessing
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from contrastive_jax.config import default
from contrastive_jax.data import sources
from contrastive_jax.data.image_files import read_image
from contrastive_jax.data.stored import random_crop
from contrastive_jax.data.streaming import stream_views
from contrastive_jax.randomness import Use, host_rng

_SIDE, _QUALITY, _SMALLEST = 256, 90, 0.08


def make_files(folder: Path, data_dir: str, count: int) -> None:
    """Writes `count` files in ten class folders; nothing where they are there."""
    if folder.is_dir() and sum(1 for _ in folder.rglob('*.jpg')) >= count:
        return
    config = default().data
    config.update(name='cifar10', data_dir=data_dir)
    images, labels = sources.load(config).train
    for index in tqdm(range(count), 'write'):
        path = folder / str(labels[index]) / f'{index:06}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(images[index]).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        image.save(path, quality=_QUALITY)


def decode(size: int, path: Path, index: int) -> int:
    """What a worker cannot do without: one file, two crops."""
    image = read_image((path,), 'RGB', default().data.max_pixels, 0)
    rng = host_rng(Use.CROPS, 0, 0, index)
    return sum(random_crop(image, rng, smallest=_SMALLEST, size=size).shape[0] for _ in range(2))


def ceiling(paths, indices, size: int, workers: int) -> float:
    """Files a second that the processes can decode and crop."""
    items = [(paths[index], index) for index in indices]
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        pool.starmap(partial(decode, size), items[: 8 * workers])  # they start and import
        began = time.perf_counter()
        pool.starmap(partial(decode, size), items, chunksize=64)
        return len(indices) / (time.perf_counter() - began)


def loader(images, labels, options, steps: range) -> tuple[float, list[float]]:
    """Images a second, and MiB of this process and its workers at each tenth of the way.

    The clock starts after as many batches as may have been read while the workers started.
    """
    memory, began = [], None
    ahead = min(6 * max(1, options.workers), len(steps) // 2)
    for number, (crops, _) in enumerate(_batches(images, labels, options, steps)):
        if number == ahead:
            began = time.perf_counter()
        if number % max(1, len(steps) // 10) == 0:
            memory.append(_resident())
        del crops
    return (len(steps) - 1 - ahead) * options.batch / (time.perf_counter() - began), memory


def _resident() -> float:
    processes = ['self', *(str(child.pid) for child in multiprocessing.active_children())]
    pages = sum(int(Path(f'/proc/{pid}/statm').read_text().split()[1]) for pid in processes)
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Parses the options, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', type=Path, required=True)
    parser.add_argument('--data_dir', default=None, help='TFDS folder with CIFAR-10')
    parser.add_argument('--files', type=int, default=20000)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    make_files(options.folder, options.data_dir, options.files)
    config = default().data
    config.update(name='folder', data_dir=str(options.folder), image_size=options.size, stream=True)
    images, labels = sources.load(config).train
    paths = images.read.args[0]
    steps = len(images) // options.batch
    ratios = []
    for round_ in range(options.rounds):
        # A part of the files for the ceiling, an epoch for the loader: all are in the disk's cache.
        indices = images.indices[round_ :: options.rounds].tolist()
        limit = ceiling(paths, indices, options.size, options.workers)
        rate, memory = loader(images, labels, options, range(round_ * steps, (round_ + 1) * steps))
        ratios.append(rate / limit)
        print(
            f'round {round_}: decoding {limit:.0f} files/s, loader {rate:.0f} images/s, ratio '
            f'{ratios[-1]:.2f}; MiB here {memory[0]:.0f} at first, {max(memory):.0f} at most'
        )
    middle = steps // 2 + 1
    all_batches, resumed = (
        [crops.sum() for crops, _ in _batches(images, labels, options, range(first, middle + 3))]
        for first in (0, middle)
    )
    print(f'resumed at step {middle} of {steps}: same batches {all_batches[middle:] == resumed}')
    print(f'ratio median {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}')


def _batches(images, labels, options, steps: range):
    return stream_views(
        images,
        labels,
        seed=0,
        batch_size=options.batch,
        steps=steps,
        smallest=_SMALLEST,
        workers=options.workers,
    )


if __name__ == '__main__':
    main()
