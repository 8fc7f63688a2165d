"""Compares finished runs: tables of every measure by cell and seed, intervals, curves.

python -m contrastive_jax.report runs --out=report
python -m contrastive_jax.report runs/simclr runs/margin --out=report --baseline=arm=simclr
python -m contrastive_jax.report --select $(cat runs/search.txt) --out=report
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from contrastive_jax.errors import UserError
from contrastive_jax.reporting import markdown
from contrastive_jax.reporting.choice import choose
from contrastive_jax.reporting.collect import find_runs, read_run
from contrastive_jax.reporting.details import run_rows
from contrastive_jax.reporting.statistics import find_baseline, group, name_by_changes
from contrastive_jax.reporting.tables import make_report
from contrastive_jax.runtime import cli
from contrastive_jax.runtime.outputs import check_out

__all__ = ['run']

_FILES = ('report.md', 'report.csv', 'report.html')


def run(
    folders: Sequence[str],
    out: Path,
    baseline: str | None = None,
    *,
    select: bool = False,
    overwrite: bool = False,
) -> None:
    """Reads the runs, writes the three files and prints the results.

    Args:
      folders: workdirs, or folders that hold them at any depth.
      out: folder to write to.
      baseline: `field=value,...` of one cell; None for the first that treats nothing.
      select: whether to choose the cell of the highest mean validation accuracy.
      overwrite: whether to replace the files of an earlier report.

    Raises:
      UserError: no runs, a baseline that picks not exactly one cell, runs without validation
        accuracy to select by, a folder that cannot be written to or holds an earlier report.
    """
    check_out(out, names=_FILES, overwrite=overwrite)
    runs = [read_run(folder) for folder in find_runs(folders)]
    cells = group(runs)
    place = 0
    if cells:
        place = find_baseline(cells, baseline)
        cells = name_by_changes(cells, place)
    elif baseline is not None:
        raise UserError(
            f'--baseline={baseline}: no run has a config that can be read; leave it out'
        )
    choice = choose(cells) if select else None
    report = make_report(runs, cells, place, choice)
    # Imported here, for matplotlib takes its time and the errors above need none.
    from contrastive_jax.reporting.page import page

    results = markdown.results(report)
    texts = {
        'report.md': f'# Report\n\n{results}\n{markdown.details(report)}',
        'report.html': page(report, cells),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            # A link is replaced, not what it points to.
            (out / name).unlink(missing_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding='utf-8')
        _write_csv(out / 'report.csv', run_rows(runs, cells, choice))
    except OSError as error:
        raise UserError(f'--out={out}: cannot be written ({error.strerror})') from error
    print(f'{results}\nwritten to {out}: {", ".join(_FILES)}')


def _write_csv(path: Path, rows: Sequence[dict]) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


if __name__ == '__main__':
    _OUT = flags.DEFINE_string('out', None, 'Folder to write to.')
    _BASELINE = flags.DEFINE_string(
        'baseline', None, 'field=value,... of the cell to compare with.'
    )
    _SELECT = flags.DEFINE_boolean(
        'select', False, 'Choose the cell of the highest mean validation accuracy.'
    )
    _OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace the files of an earlier report.')
    flags.mark_flag_as_required('out')
    cli.run(
        lambda *runs: run(
            runs,
            Path(_OUT.value),
            _BASELINE.value,
            select=_SELECT.value,
            overwrite=_OVERWRITE.value,
        ),
        positional=True,
    )
