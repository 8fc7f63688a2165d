"""lightly's NT-Xent, value and gradient: reads numbers of calls, makes them, prints the seconds.

    python benchmarks/peer/losses.py --images 256 --dim 128 [--gpu]

Prints the seconds and the peak memory in bytes, beyond what the process had before the first.
"""

import argparse
import re
from pathlib import Path

import torch
from lightly.loss import NTXentLoss
from turns import serve


def main():
    """Works on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, required=True)
    parser.add_argument('--dim', type=int, required=True)
    parser.add_argument('--gpu', action='store_true')
    options = parser.parse_args()
    torch.manual_seed(0)
    device = 'cuda' if options.gpu else 'cpu'
    rows = torch.randn(2 * options.images, options.dim, device=device, requires_grad=True)
    loss_of = NTXentLoss(temperature=0.2)

    def work():
        rows.grad = None
        loss = loss_of(*rows.chunk(2))
        loss.backward()
        return loss

    def peak():
        if options.gpu:
            return torch.cuda.max_memory_allocated()
        status = Path('/proc/self/status').read_text()
        return 1024 * int(re.search(r'VmHWM:\s*(\d+)', status)[1])

    # Importing torch needs more than a small loss: the peak is counted from here (Linux).
    Path('/proc/self/clear_refs').write_text('5')
    before = peak()

    def finish(loss):
        loss.item()  # waits
        return peak() - before

    serve(work, finish)


if __name__ == '__main__':
    main()
