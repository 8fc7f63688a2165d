"""What the studies share that look for images which were made difficult by mixing."""

import argparse
import json
from collections.abc import Callable

from ml_collections import ConfigDict

from studies.inputs import add_config, config_from
from studies.measures import spread
from studies.outputs import as_path, check_new

__all__ = ['options', 'report']


def options(doc: str) -> argparse.ArgumentParser:
    """A parser with what both studies take.

    Args:
      doc: docstring of the study's module.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    add_config(parser)
    parser.add_argument('--epochs', type=int, default=None, help='instead of those of the config')
    parser.add_argument('--ratio', type=float, default=0.1)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--out', type=as_path, default=None, help='JSON of every value')
    return parser


def report(options, areas: Callable[[ConfigDict, str], dict[str, float]]) -> None:
    """Prints ROC-AUC by ranking, for each seed and both kinds of mixing, and writes every value.

    Args:
      options: parsed options of the command line.
      areas: takes a config and its kind of mixing, 'plain' or 'matched'; trains, and returns the
        area of each ranking by name.
    """
    if options.out:
        check_new(options.out)
    values: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        for kind in ('plain', 'matched'):
            config = config_from(options.config, options.data_dir, options.epochs)
            config.seed = seed
            config.mixed.update(ratio=options.ratio, match_contrast=kind == 'matched')
            for name, area in areas(config, kind).items():
                values.setdefault(name, {}).setdefault(kind, []).append(area)
            if options.out:
                options.out.write_text(json.dumps(values, indent=1))
    print(
        f'{options.config}, ratio {options.ratio}, seeds {options.seeds}: ROC-AUC, mean ± deviation'
    )
    for name, kinds in values.items():
        print(f'{name:38} ' + '  '.join(map(spread, kinds.values())))
