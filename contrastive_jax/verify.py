"""Judges the difficult pairs of a run again with an Energy-Based Transformer (System 2).

python -m contrastive_jax.verify --workdir=runs/digits

It trains a verifier on the tokens of the frozen encoder, without labels, and reports how much the
verifier adds to the cosine.
"""

import sys
from pathlib import Path

from absl import flags

from contrastive_jax.errors import NO_SYSTEM_2, UserError
from contrastive_jax.runtime import cli

try:
    from contrastive_jax.ebt.verifier.command import FILES, run
except ModuleNotFoundError as _error:
    if _error.name != 'contrastive_jax.ebt':
        raise
    # As a command it has not come to `cli.run`, which turns errors into one line.
    if __name__ == '__main__':
        sys.exit(f'error: {NO_SYSTEM_2}')
    raise UserError(NO_SYSTEM_2) from _error

__all__ = ['run']


def _print(summary: dict, out: Path) -> None:
    for split in ('train', 'test'):
        for kind in ('class', 'instance'):
            table = summary[split].get(kind)
            if not table:
                continue
            print(f'\n{split} images, same {kind}: {"AUC":>13} {"gain, 95 %":>24} {"AP":>8}')
            for name, row in table.items():
                limits = row['gain_interval']
                interval = '{:+.3f}, {:+.3f}'.format(*limits) if limits else 'none'
                gain = f'{row["gain"]:+.3f} [{interval}]'
                print(f'{name:32} {row["auc"]:7.3f} {gain:>25} {row["ap"]:8.3f}')
    print(f'\n{"cost of a pair":24} {"FLOPs":>10} {"time / cosine":>14}')
    for name, row in summary['cost_of_a_pair'].items():
        print(f'{name:24} {row["flops"] or float("nan"):10.0f} {row["time_ratio"]:14.1f}')
    names = ', '.join(name for name in FILES if (out / name).exists())
    print(f'written to {out}: {names}')


def main(values: flags.FlagValues) -> None:
    """Runs with the flags of the command line."""
    workdir = Path(values.workdir)
    out = Path(values.out) if values.out else workdir / 'verify'
    summary = run(
        workdir,
        out,
        steps=values.steps,
        seed=values.seed,
        neighbours=values.neighbours,
        everything=bool(values['all'].value),
        overwrite=values.overwrite,
    )
    _print(summary, out)


if __name__ == '__main__':
    cli.define_common(
        workdir='Trained run.',
        out='Folder to write to; the default is WORKDIR/verify.',
        overwrite='Replace the files of an earlier call.',
        all='Also use the images that the run left out, and mark those that it trained on.',
    )
    flags.DEFINE_integer('steps', 1000, 'Number of training steps of each verifier.', lower_bound=1)
    flags.DEFINE_integer(
        'seed',
        0,
        'Seed of the training and of the augmentations. The 256 anchors of the tables, and the '
        'resamples of their intervals, are the same for every seed.',
        0,
        2**31 - 1,
    )
    flags.DEFINE_integer(
        'neighbours',
        0,
        'Number of nearest images from which a positive is drawn, if they are mutual neighbours; '
        '0 takes another augmentation of the anchor.',
        lower_bound=0,
    )
    flags.mark_flag_as_required('workdir')
    cli.run(lambda: main(flags.FLAGS))
