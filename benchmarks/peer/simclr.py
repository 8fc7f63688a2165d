"""lightly's SimCLR on PyTorch: reads numbers of steps, takes them, and prints the seconds.

    python benchmarks/peer/simclr.py --images images.npy --width 16 --batch 256 --workers 0 [--gpu]

Needs the environment of `setup.sh`, and nothing of this package. Network, augmentation, batch and
optimiser have the settings of `benchmarks/end_to_end.py`, with lightly's parts where it has them.
On a GPU its blur has 5x5 pixels, which cuts the kernel, and pixels are not normalised.
With `--gpu`: channels last unless `--layout` says otherwise, bfloat16 by autocast, `torch.compile`,
cuDNN's search for the fastest convolutions, and kornia's augmentation of images that stay on the
device.
"""

import argparse

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import nn
from turns import serve

LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


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

    def __getitem__(self, index):
        """Two views."""
        return self.transform(self.images[index])


def host_views(images, options):
    """Batches of both views, by lightly's augmentation, in worker processes."""
    loader = torch.utils.data.DataLoader(
        Pairs(images),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    while True:
        for views in loader:
            yield torch.cat(views)


def device_views(images, options, device):
    """Batches of both views, by kornia, of images on the device."""
    from kornia import augmentation as k

    augment = nn.Sequential(
        # The default, 'slice', is a Python loop over the images.
        k.RandomResizedCrop((32, 32), scale=(0.08, 1.0), cropping_mode='resample'),
        k.RandomHorizontalFlip(),
        k.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        k.RandomGrayscale(p=0.2),
        k.RandomGaussianBlur((5, 5), (0.1, 2.0), p=0.5),
    )
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    while True:
        order = torch.randperm(len(pixels), device=device)
        for indices in order[: len(order) // options.batch * options.batch].split(options.batch):
            with torch.no_grad():
                views = augment(pixels[indices].repeat(2, 1, 1, 1) / 255)
            yield views


def main():
    """Trains on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True)
    parser.add_argument('--width', type=int, required=True)
    parser.add_argument('--batch', type=int, required=True)
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument('--gpu', action='store_true')
    parser.add_argument('--layout', choices=LAYOUTS, help='default: channels_last with --gpu')
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = options.gpu
    device = torch.device('cuda' if options.gpu else 'cpu')
    layout = LAYOUTS[options.layout or ('channels_last' if options.gpu else 'contiguous')]
    features = 8 * options.width
    model = nn.Sequential(
        resnet18(options.width), SimCLRProjectionHead(features, 512, 128, batch_norm=False)
    )
    model = model.to(device, memory_format=layout)
    network = torch.compile(model) if options.gpu else model
    loss_of = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    images = np.load(options.images)
    source = device_views(images, options, device) if options.gpu else host_views(images, options)

    def work():
        views = next(source).to(device, memory_format=layout, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.gpu):
            # One pass over both views, as on the other side: half the calls of two.
            embeddings = network(views)
        loss = loss_of(*embeddings.float().chunk(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    serve(work, lambda loss: loss.item())


if __name__ == '__main__':
    main()
