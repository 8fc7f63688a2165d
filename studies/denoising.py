"""Tables and a figure of the denoisers, from the runs of a grid: PSNR by evaluations and by FLOPs.

    python -m launch.sweep --grid=ebt_denoise --config=configs/ebt_denoise.py --seeds=3 --runs=runs
    python -m studies.denoising $(cat runs/ebt_denoise.txt) --out=OUT

Mean and standard deviation over the seeds; runs that are not finished are named. The runs of a kind
differ in the seed alone, and the kinds in what the grid sets.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from contrastive_jax.config import completed, differences
from contrastive_jax.ebt.section import DENOISERS
from contrastive_jax.errors import UserError
from contrastive_jax.reporting import style
from contrastive_jax.runtime.files import read_json
from launch.grids.ebt_denoise import CELLS
from studies.measures import spread
from studies.outputs import check_new, command

__all__ = ['main']

_HEAD = """# Denoising by kind of noise and number of evaluations

PSNR in dB on test images; accuracy of probes in %. Mean and standard deviation over the seeds.

"""
# What the kinds may differ in.
_OF_KINDS = frozenset(path for fields in CELLS.values() for path in fields)
_DRAWN = ('gaussian 99', 'gaussian 199', 'salt and pepper', 'uniform', 'blur')


def _name(config: dict) -> str:
    """What tells the runs of the grid apart."""
    name = config['model.name']
    if name in ('feedforward', 'diffusion'):
        return {'feedforward': 'feed-forward'}.get(name, name)
    who = 'conditioned energy' if name == 'energy_conditioned' else 'energy'
    how = 'S1' if config['denoise.loss'] == 'all' else 'S2'
    return f'{who}, {how if config["denoise.detach"] else "unroll"}'


def _check(folder: Path, config: dict[str, Any], others: Iterable[tuple[Path, dict]]) -> None:
    """Exits where a run is not of the grid and setting of the others, or of their seed and kind."""
    for other, its in others:
        same = _name(config) == _name(its)
        if same and config['seed'] == its['seed']:
            raise SystemExit(
                f'{other} and {folder} have one seed and are both {_name(config)}; '
                'give each run of one grid once'
            )
        besides = {'seed'} if same else {'seed', *_OF_KINDS}
        if found := differences(its, config, besides):
            raise SystemExit(
                f'{folder} has another setting than {other}, {found[0]}; '
                'give the runs of one grid with one setting'
            )


def _gather(folders: Sequence[str]) -> dict[str, list[dict]]:
    """Results of the finished runs, by the kind of denoiser.

    Raises:
      SystemExit: an encoder, two runs of one kind and seed, or runs of several settings.
    """
    results, configs = defaultdict(list), []
    for folder in map(Path, folders):
        try:
            config = completed(read_json(folder / 'config.json'))
            result = read_json(folder / 'result.json')
        except (FileNotFoundError, UserError) as error:
            print(f'left out: {error}')
            continue
        if config['model.name'] not in DENOISERS:
            raise SystemExit(
                f'{folder} holds an encoder ({config["model.name"]}), but this study is of '
                'denoisers; leave it out'
            )
        _check(folder, config, configs)
        configs.append((folder, config))
        row = dict(result['denoising'])
        row['probe'] = {name: value for name, value in result.items() if 'accuracy' in name}
        results[_name(config)].append(row)
    return dict(results)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines) + '\n'


def _psnr_table(results: dict[str, list[dict]], kind: str) -> str:
    counts = next(iter(results.values()))[0]['evaluations']
    rows = []
    for name, runs in results.items():
        for suffix in ('', ', told'):
            series = [run['psnr'][kind + suffix] for run in runs if kind + suffix in run['psnr']]
            if series:
                cells = [spread([s[index] for s in series], 2) for index in range(len(counts))]
                rows.append([name + suffix, *cells])
    return _table([f'{kind}; evaluations', *counts], rows)


def _guess_table(results: dict[str, list[dict]], kind: str) -> str:
    runs = {name: [r['guesses'][kind] for r in rows] for name, rows in results.items()}
    names = list(next(iter(runs.values()))[0])
    rows = [
        [name, *(spread([run[column] for run in found_], 2) for column in names)]
        for name, found_ in runs.items()
    ]
    return _table([kind, *names], rows)


def _cost_table(results: dict[str, list[dict]]) -> str:
    rows = [
        [
            name,
            len(runs),
            f'{runs[0]["flops"] / 1e6:.1f}' if runs[0]['flops'] else '',
            *(
                spread([100 * run['probe'][measure] for run in runs], 2)
                for measure in ('linear_accuracy', 'few_label_accuracy', 'knn_accuracy')
            ),
        ]
        for name, runs in results.items()
    ]
    head = ['', 'runs', 'MFLOP an evaluation', 'linear %', 'few labels %', 'kNN %']
    return _table(head, rows)


@matplotlib.rc_context(style.FIGURE)
def _figure(results: dict[str, list[dict]], path: Path) -> None:
    kinds = [kind for kind in _DRAWN if kind in next(iter(results.values()))[0]['psnr']]
    figure = Figure(figsize=(3.2 * len(kinds), 6), layout='constrained')
    axes = figure.subplots(2, len(kinds), squeeze=False)
    for column, kind in enumerate(kinds):
        for row, by_flops in enumerate((False, True)):
            axis = axes[row][column]
            for colour, (name, runs) in zip(style.LIGHT, results.items(), strict=False):
                series = [run['psnr'][kind] for run in runs]
                means = [statistics.mean(values) for values in zip(*series, strict=True)]
                at = runs[0]['evaluations']
                if by_flops:
                    at = [count * (runs[0]['flops'] or float('nan')) / 1e6 for count in at]
                # No logarithm of nothing.
                first = 1 if by_flops else 0
                axis.plot(at[first:], means[first:], marker='.', color=colour, label=name)
            axis.set_xlabel('MFLOP an image' if by_flops else 'evaluations')
            axis.set_title(kind, fontsize=10)
            if by_flops:
                axis.set_xscale('log', base=4)
                axis.xaxis.set_major_formatter('{x:.0f}')
    axes[0][0].set_ylabel('PSNR, dB')
    axes[1][0].set_ylabel('PSNR, dB')
    axes[0][0].legend(fontsize=7)
    style.save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the options, gathers, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('runs', nargs='+', help='workdirs')
    parser.add_argument('--out', required=True, help='folder for denoising.md and denoising.png')
    options = parser.parse_args(arguments)
    out = Path(options.out)
    check_new(out / 'denoising.md', out / 'denoising.png')
    results = _gather(options.runs)
    if not results:
        raise SystemExit('no finished run among them')
    out.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in next(iter(results.values()))[0]['psnr'] if ', told' not in kind]
    parts = [_cost_table(results), *(_psnr_table(results, kind) for kind in kinds)]
    guessed = {name: runs for name, runs in results.items() if 'guesses' in runs[0]}
    if guessed:
        parts += [
            _guess_table(guessed, kind) for kind in next(iter(guessed.values()))[0]['guesses']
        ]
    text = _HEAD + '\n'.join(parts)
    (out / 'denoising.md').write_text(text)
    print(text)
    _figure(results, out / 'denoising.png')


if __name__ == '__main__':
    command(main)
