"""LaTeX tables, and figures in files."""

import os
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.paper import _draw_dots
from contrastive_jax.reporting.pictures import Dots
from contrastive_jax.reporting.statistics import Summary
from tests.reporting.runs import MARGIN, write_run, write_runs

EVIL = r'</text><script>a_1&$x^2$~%#{}</script>\input{/etc/passwd}'
# What each character of a text becomes in LaTeX.
ESCAPES = {
    **{f'\\{character}': character for character in '&%$#_{}'},
    r'\textbackslash{}': '\\',
    r'\textasciitilde{}': '~',
    r'\textasciicircum{}': '^',
    r'\textless{}': '<',
    r'\textgreater{}': '>',
    r'\textbar{}': '|',
    r'\ensuremath{\pm}': '±',
    r'\ensuremath{-}': '-',
    '---': '—',
    '{[}': '[',
    '{]}': ']',
}


def read_latex(text):
    """The entries of each row, head first, as they were before they were escaped."""
    every = re.compile('|'.join(map(re.escape, ESCAPES)))
    rows = [line.strip().removesuffix(r' \\') for line in text.splitlines() if line.endswith(r'\\')]
    entries = [re.split(' & ', row) for row in rows]
    for row in entries:
        for entry in row:
            # What is left after the escapes has no meaning to LaTeX.
            assert not re.search(r'[&%$#_{}~^\\<>|]', every.sub('', entry)), entry
    return [[every.sub(lambda m: ESCAPES[m[0]], entry) for entry in row] for row in entries]


@pytest.fixture(scope='module')
def paper(tmp_path_factory):
    folder = tmp_path_factory.mktemp('paper')
    runs = write_runs(folder / 'runs')
    write_run(runs / 'evil' / '0', data__name=EVIL, monitor={'monitor/../../a$b': 1.0})
    report.run([str(runs)], folder / 'out', paper=folder / 'paper')
    return folder / 'paper'


def test_each_table_is_there_and_its_texts_are_escaped(paper):
    tables = {path.stem: read_latex(path.read_text()) for path in paper.glob('*.tex')}
    assert tables['table_test_accuracy'][:2] == [
        ['cell', 'linear', 'few labels', 'kNN', '20-NN'],
        ['1: baseline', *['60.00 ± 10.00 (3)'] * 4],
    ]
    assert any(EVIL in entry for row in tables['table_cells'] for entry in row)
    titles = re.findall('^## (.*)', (paper.parent / 'out' / 'report.md').read_text(), re.M)
    assert len(tables) == len(titles)
    text = (paper / 'table_test_accuracy.tex').read_text()
    assert r'\begin{tabular}{lrrrr}' in text
    assert [text.count(rf'\{rule}rule') for rule in ('top', 'mid', 'bottom')] == [1, 1, 1]


def test_each_figure_is_there_as_svg_and_pdf(paper):
    stems = {path.stem for path in paper.glob('figure_*')}
    assert {'figure_linear_accuracy', 'figure_loss', 'figure_monitor_a_b'} <= stems
    for stem in stems:
        tree = ElementTree.parse(paper / f'{stem}.svg')
        assert not [e for e in tree.iter() if e.tag.endswith('script')]
        assert (paper / f'{stem}.pdf').read_bytes().startswith(b'%PDF')


def test_the_bar_of_a_cell_is_its_deviation():
    axes = Figure().subplots()
    _draw_dots(axes, Dots(0, [0, 1, 2], np.array([50.0, 60, 70]), Summary(60.0, 10.0, 3)))
    (bar,) = axes.collections
    np.testing.assert_allclose(bar.get_segments()[0][:, 0], [50, 70])


@pytest.mark.ci
def test_equal_reports_give_equal_files(runs, tmp_path):
    for name in ('first', 'second'):
        report.run([str(runs)], tmp_path / f'{name}_out', paper=tmp_path / name)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ('first', 'second')
    )
    assert first == second


def test_names_that_differ_in_signs_alone_get_a_number(tmp_path):
    write_run(tmp_path / 'run', monitor={'monitor/a b': 1.0, 'monitor/a_b': 2.0})
    report.run([str(tmp_path / 'run')], tmp_path / 'out', paper=tmp_path / 'paper')
    names = {path.name for path in (tmp_path / 'paper').iterdir()}
    assert {'figure_monitor_a_b.svg', 'figure_monitor_a_b_2.svg'} <= names


@pytest.mark.ci
def test_earlier_files_are_kept_and_nothing_else_is_written(runs, tmp_path, capsys):
    folder = tmp_path / 'paper'
    folder.mkdir()
    (folder / 'figure_loss.pdf').write_text('precious')
    (folder / 'main.tex').write_text('mine')
    with pytest.raises(UserError, match=r'^--paper=.*figure_loss.pdf already.*another --paper'):
        report.run([str(runs)], tmp_path / 'out', paper=folder)
    assert (folder / 'figure_loss.pdf').read_text() == 'precious'
    assert not (tmp_path / 'out').exists()
    (folder / 'figure_rank.svg').write_text('old')
    report.run([str(runs)], tmp_path / 'out', paper=folder, overwrite=True)
    said = 'of an earlier report, not written now: figure_rank.svg\n'
    assert capsys.readouterr().out.endswith(said)
    assert (folder / 'figure_loss.pdf').read_bytes().startswith(b'%PDF')
    assert (folder / 'main.tex').read_text() == 'mine'


@pytest.mark.ci
def test_a_folder_that_cannot_be_written_is_refused(runs, tmp_path):
    (tmp_path / 'file').write_text('')
    for folder in (tmp_path / 'file', tmp_path / 'file' / 'inside'):
        with pytest.raises(UserError, match=r'^--paper=.*cannot be written'):
            report.run([str(runs)], tmp_path / 'out', paper=folder)
    if os.geteuid():
        (tmp_path / 'locked').mkdir(mode=0o500)
        with pytest.raises(UserError, match=r'^--paper=.*cannot be written'):
            report.run([str(runs)], tmp_path / 'out', paper=tmp_path / 'locked')
    assert not (tmp_path / 'out').exists()


@pytest.mark.ci
def test_a_minus_is_no_hyphen(tmp_path):
    for seed, (plain, treated) in enumerate([(0.9, 0.8), (0.8, 0.7), (0.9, 0.7)]):
        write_run(tmp_path / f'plain-{seed}', seed, plain)
        write_run(tmp_path / f'treated-{seed}', seed, treated, **MARGIN)
    report.run([str(tmp_path)], tmp_path / 'out', paper=tmp_path / 'paper')
    text = (tmp_path / 'paper' / 'table_difference_to_the_baseline.tex').read_text()
    body = text.partition(r'\midrule')[2]
    assert r'\ensuremath{-}13.33 {[}\ensuremath{-}' in body
    assert not re.search(r'(?<![\w.-])-\d', body)
