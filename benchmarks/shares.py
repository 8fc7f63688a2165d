"""Where the time of a step goes: augmentation, encoder, loss, selection, optimiser.

    python -m benchmarks.shares --config configs/cifar.py --batch 512 1024 --json out.json

One device, images of noise. Each part is a program of its own, so together they need not take
what the step takes, in which XLA fuses across their borders. `selection` is what the combined
treatment adds to the loss. The ceiling is a matrix product in the precision of the config.
"""

from statistics import median

from benchmarks import measure, steps
from contrastive_jax.models import compute_dtype


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--config', default='configs/cifar.py:small', help='file, with :variant')
    parser.add_argument('--shape', type=int, nargs=3, default=[32, 32, 3])
    parser.add_argument('--batch', type=int, nargs='+', default=[256])
    options = parser.parse_args(arguments)
    config = steps.treat(steps.load_config(options.config), 'difficult')
    report = measure.Report('shares', options.json, compute_dtype(config.precision))
    for size in options.batch:
        config.batch_size = size
        for row in _rows(config, steps.noise(size, options.shape), options.rounds):
            report.add(batch=size, **row)


def _rows(config, batch, rounds: int):
    step = steps.Step(config, batch)
    functions = {'step': step, **steps.parts(config, batch)}
    calls = measure.calls_a_turn()
    timers = {name: measure.timed(function, calls) for name, function in functions.items()}
    times = measure.alternate(timers, rounds)
    both = times.pop('loss and selection')
    flops = step.flops()
    times['selection'] = [one - other for one, other in zip(both, times['loss'], strict=True)]
    for name, taken in times.items():
        yield {
            'part': name,
            'seconds': median(taken),
            'of_step': measure.ratio(taken, times['step']),
            'gflops': flops / median(taken) / 1e9 if name == 'step' and flops else None,
        }


if __name__ == '__main__':
    main()
