"""What the treatment of difficult pairs adds to a step of a config: selected against plain NT-Xent.

    python -m benchmarks.selection --config configs/cifar.py:small --shape 32 32 3 \
        --batch 256 1024 4096 --json out.json

One device, images of noise; steps of both kinds in turn, as a ratio. The noise of a step may be
larger than what selection costs. So selection and loss are timed by themselves as well, value and
gradient, with the treatment and without: `added` is their difference over the plain step.
"""

import statistics

from benchmarks import measure, steps


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    parser.add_argument('--shape', type=int, nargs=3, default=[8, 8, 1])
    parser.add_argument('--batch', type=int, nargs='+', default=[256, 1024, 4096])
    options = parser.parse_args(arguments)
    report = measure.Report('selection', options.json)
    for size in options.batch:
        config = steps.load_config(options.config)
        config.batch_size = size
        batch = steps.noise(size, options.shape)
        times = measure.alternate(_timers(config, batch), options.rounds)
        added = [
            (selected - plain) / step
            for selected, plain, step in zip(
                times['treated loss'], times['plain loss'], times['plain step'], strict=True
            )
        ]
        report.add(
            config=options.config,
            batch=size,
            plain_seconds=statistics.median(times['plain step']),
            ratio=measure.ratio(times['treated step'], times['plain step']),
            loss_seconds=statistics.median(times['plain loss']),
            treated_loss_seconds=statistics.median(times['treated loss']),
            added=measure.Ratio(statistics.median(added), min(added), max(added)),
        )


def _timers(config, batch):
    timers = {}
    for name, select in (('plain', 'none'), ('treated', 'difficult')):
        chosen = steps.treat(config, select)
        step = steps.Step(chosen, batch)
        timers[f'{name} step'] = measure.timed(step, measure.calls_a_turn())
        loss = steps.objective(chosen, batch, step.features)
        timers[f'{name} loss'] = measure.timed(loss, measure.calls_a_turn())
    return timers


if __name__ == '__main__':
    main()
