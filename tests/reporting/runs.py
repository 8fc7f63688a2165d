"""Runs that nobody trained, and what is read from their report."""

import csv
import json

from contrastive_jax.reporting import statistics, tables
from contrastive_jax.reporting.collect import find_runs, read_run
from tests.helpers import small_config

MARGIN = {'pairs__select': 'difficult', 'pairs__margin': 0.1}


def fake_result(accuracy, seed, **changes):
    measured = {} if accuracy is None else {'knn20_accuracy': accuracy, 'few_label_std': 0.01}
    return {
        **dict.fromkeys(('linear_accuracy', 'few_label_accuracy', 'knn_accuracy'), accuracy),
        **measured,
        'raw_pixel_accuracy': None if accuracy is None else 0.25,
        'random_encoder_accuracy': None if accuracy is None else 0.5,
        'mixed': 0,
        'removed': 3,
        'removed_by_class': None if accuracy is None else {'cat': 1, 'dog': 2},
        'pairs_per_second': 100.0 + seed,
        'seconds': 10.0,
        'seed': seed,
        'versions': {'python': '3.11.7', 'jax': '0.10.2'},
        'git_commit': 'abc',
        **changes,
    }


def write_run(
    folder,
    seed=0,
    accuracy=0.5,
    *,
    result=True,
    metrics=True,
    losses=(3, 1),
    monitor=None,
    **config,
):
    """A workdir of two epochs of two steps.

    `result` may be the content of the file; `monitor` is added to the last step of each epoch.
    """
    folder.mkdir(parents=True)
    values = small_config(seed=seed, **config).to_dict()
    (folder / 'config.json').write_text(json.dumps(values))
    if result is not False:
        content = fake_result(accuracy, seed) if result is True else result
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / 'result.json').write_text(text)
    if metrics:
        lines = [
            {'step': 2 * epoch + k + 1, 'epoch': epoch, 'loss': loss + k}
            for epoch, loss in enumerate(losses)
            for k in (0, 1)
        ]
        for line in lines[1::2]:
            line |= monitor or {}
        (folder / 'metrics.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    return folder


def write_runs(folder):
    """A plain cell with seeds 0 to 2, and one with a margin, where seed 2 is unfinished."""
    for seed, accuracy in enumerate((0.5, 0.6, 0.7)):
        write_run(folder / 'plain' / str(seed), seed, accuracy)
    for seed, accuracy in enumerate((0.6, 0.8)):
        write_run(folder / 'margin' / str(seed), seed, accuracy, **MARGIN)
    write_run(folder / 'margin' / '2', 2, result=False, **MARGIN)
    return folder


def cells_of(folder):
    return statistics.group([read_run(path) for path in find_runs([str(folder)])])


def report_of(folder, baseline=None):
    runs = [read_run(path) for path in find_runs([str(folder)])]
    cells = statistics.group(runs)
    baselines = statistics.find_baselines(cells, baseline)
    return tables.make_report(runs, statistics.name_by_changes(cells, baselines), baselines)


def texts(report, title):
    """A table by its title, a dict a row."""
    (table,) = (t for t in (*report.results, *report.details) if t.title.startswith(title))
    return [
        dict(zip(table.columns, (entry.text for entry in row), strict=True)) for row in table.rows
    ]


def read_csv(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))
