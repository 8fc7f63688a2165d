"""lightly's SimCLR on PyTorch: trains so many steps for each line it reads, and says how long.

    python benchmarks/peer/simclr.py --images images.npy --width 16 --batch 256 --workers 0

Needs the environment of `setup.sh`, and nothing of this package. Same network, augmentation, batch
and optimiser as `benchmarks/end_to_end.py`, of lightly's parts where it has them.
"""

import argparse
import sys
import time

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import nn


class Block(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, channels_in, channels, stride):
        """Builds it; a 1x1 convolution where the shape changes."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        """The block."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet18(width):
    """ResNet-18 with the CIFAR stem."""
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(4):
        for block in range(2):
            layers.append(Block(channels, width << stage, 2 if stage and not block else 1))
            channels = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Pairs(torch.utils.data.Dataset):
    """Two views of each image."""

    def __init__(self, images):
        """Keeps the images as Pillow's."""
        self.images = [Image.fromarray(image) for image in images]
        # lightly's defaults, but for the blur: theirs is off for images of 32 pixels.
        self.transform = SimCLRTransform(
            input_size=32, cj_strength=1.0, gaussian_blur=0.5, sigmas=(0.1, 2.0)
        )

    def __len__(self):
        """Number of images."""
        return len(self.images)

    def __getitem__(self, place):
        """Two views."""
        return self.transform(self.images[place])


def main():
    """Trains on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True)
    parser.add_argument('--width', type=int, required=True)
    parser.add_argument('--batch', type=int, required=True)
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument('--channels_last', action='store_true')
    options = parser.parse_args()
    torch.manual_seed(0)
    features = 8 * options.width
    model = nn.Sequential(resnet18(options.width), SimCLRProjectionHead(features, 512, 128))
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    loss_of = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    loader = torch.utils.data.DataLoader(
        Pairs(np.load(options.images)),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )

    def batches():
        while True:
            yield from loader

    source = batches()
    print('ready', flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            first, second = next(source)
            if options.channels_last:
                first, second = (
                    view.contiguous(memory_format=torch.channels_last) for view in (first, second)
                )
            # One pass over both views, as on the other side: half the calls of two.
            embeddings = model(torch.cat([first, second]))
            loss = loss_of(*embeddings.chunk(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(time.perf_counter() - began, loss.item(), flush=True)


if __name__ == '__main__':
    main()
