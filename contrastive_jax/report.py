"""Compares finished runs: tables of every measure by cell and seed, intervals, curves.

python -m contrastive_jax.report runs --out=report
python -m contrastive_jax.report runs/simclr runs/margin --out=report --baseline=arm=simclr
python -m contrastive_jax.report --select runs/search.txt --out=report
python -m contrastive_jax.report runs --out=report --paper=paper/generated
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from absl import flags

from contrastive_jax.errors import UserError
from contrastive_jax.reporting import markdown
from contrastive_jax.reporting.choice import choose
from contrastive_jax.reporting.collect import find_runs, read_run
from contrastive_jax.reporting.details import csv_text
from contrastive_jax.reporting.statistics import find_baselines, group, name_by_changes
from contrastive_jax.reporting.tables import make_report
from contrastive_jax.runs.workdir import check_outside_data_of
from contrastive_jax.runtime import cli
from contrastive_jax.runtime.files import write_whole
from contrastive_jax.runtime.outputs import check_out

__all__ = ['run']

_FILES = ('report.md', 'report.csv', 'report.html')


def run(
    folders: Sequence[str],
    out: Path,
    baseline: str | None = None,
    *,
    select: bool = False,
    paper: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Reads the runs, writes the three files and prints the results.

    Args:
      folders: workdirs, folders that hold them at any depth, or the lists `GRID.txt` of a sweep.
      out: folder to write to.
      baseline: `field=value,...` of the cell that all are compared with; None for the cell without
        treatment that agrees with a cell in all else.
      select: whether to choose the cell with the highest mean validation accuracy.
      paper: folder for the tables as LaTeX and the figures as SVG and PDF, or None.
      overwrite: whether to replace the files of an earlier report.

    Raises:
      UserError: no runs, a baseline that does not pick exactly one cell, runs without validation
        accuracy to select by, a folder that cannot be written to or holds an earlier report.
    """
    check_out(out, names=_FILES, overwrite=overwrite)
    workdirs = find_runs(folders)
    check_outside_data_of(map(Path, workdirs), out)
    runs = [read_run(folder) for folder in workdirs]
    cells = group(runs)
    baselines: list[int] = []
    if cells:
        baselines = find_baselines(cells, baseline)
        cells = name_by_changes(cells, baselines)
    elif baseline is not None:
        raise UserError(
            f'--baseline={baseline}: no run has a config that can be read; leave it out'
        )
    choice = choose(cells) if select else None
    report = make_report(runs, cells, baselines, choice)
    to_make = {}
    # Imported here: matplotlib and Bokeh take a second each, and the errors above need neither.
    if paper is not None:
        from contrastive_jax.reporting.paper import paper_files

        to_make = paper_files(report, cells)
        check_outside_data_of(map(Path, workdirs), paper, '--paper')
        check_out(paper, names=to_make, overwrite=overwrite, flag='paper')
    from contrastive_jax.reporting.html import report_page

    results = markdown.results(report)
    texts = {
        'report.md': f'# Report\n\n{results}\n{markdown.details(report)}',
        'report.csv': csv_text(runs, cells, choice),
        'report.html': report_page(report, cells),
    }
    for_paper = {name: make() for name, make in to_make.items()}
    _write(out, {name: text.encode() for name, text in texts.items()}, 'out')
    print(f'{results}\nwritten to {out}: {", ".join(_FILES)}')
    if paper is not None:
        _write(paper, for_paper, 'paper')
        print(f'written to {paper}: {len(for_paper)} files for a paper')
        kinds = ('table_*.tex', 'figure_*.svg', 'figure_*.pdf')
        there = {path.name for kind in kinds for path in paper.glob(kind)}
        if earlier := sorted(there - for_paper.keys()):
            print(f'of an earlier report, not written now: {", ".join(earlier)}')


def _pour(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _write(folder: Path, files: dict[str, bytes], flag: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(folder / name, partial(_pour, content))
    except OSError as error:
        raise UserError(f'--{flag}={folder}: cannot be written ({error.strerror})') from error


def main(values: flags.FlagValues, folders: Sequence[str]) -> None:
    """Runs with the flags of the command line."""
    run(
        folders,
        Path(values.out),
        values.baseline,
        select=values.select,
        paper=None if values.paper is None else Path(values.paper),
        overwrite=values.overwrite,
    )


if __name__ == '__main__':
    cli.define_common(
        out='Folder to write to.', overwrite='Replace the files of an earlier report.'
    )
    flags.DEFINE_string(
        'baseline',
        None,
        'field=value,... of the cell that all others are compared with. Default: for each cell the '
        'untreated one with the same data, batch, network, epochs, temperature and optimiser.',
    )
    flags.DEFINE_bool('select', False, 'Choose the cell with the highest mean validation accuracy.')
    flags.DEFINE_string('paper', None, 'Folder for LaTeX tables, and figures as SVG and PDF.')
    flags.mark_flag_as_required('out')
    cli.run(lambda *folders: main(flags.FLAGS, folders), positional=True)
