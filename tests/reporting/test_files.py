import json
import re

import pytest

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import MEASURES, find_runs
from tests.reporting.runs import (
    read_csv,
    report_of,
    texts,
    write_run,
)


def test_the_csv_holds_every_run_and_number(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    rows = read_csv(tmp_path / 'out' / 'report.csv')
    assert [row['status'] for row in rows] == ['finished'] * 2 + ['unfinished'] + ['finished'] * 3
    for row, path in zip(rows, find_runs([str(runs)]), strict=True):
        assert row['run'] == str(path)
        config = json.loads((path / 'config.json').read_text())
        assert int(row['seed']) == config['seed']
        assert float(row['pairs.margin']) == config['pairs']['margin']
        assert 'epochs' not in row
        if row['status'] == 'finished':
            result = json.loads((path / 'result.json').read_text())
            names = [*MEASURES, 'pairs_per_second', 'removed']
            assert [float(row[name]) for name in names] == [result[name] for name in names]
            assert row['removed_by_class.dog'] == '2'
        else:
            assert row['linear_accuracy'] == ''


@pytest.mark.parametrize('name', ['report.md', 'report.csv', 'report.html'])
def test_earlier_reports_are_not_overwritten(runs, tmp_path, name):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / name).write_text('precious')
    with pytest.raises(UserError, match=rf'holds {re.escape(name)} already.*give another --out'):
        report.run([str(runs)], tmp_path / 'out')
    assert [path.read_text() for path in (tmp_path / 'out').iterdir()] == ['precious']
    report.run([str(runs)], tmp_path / 'out', overwrite=True)
    assert len(list((tmp_path / 'out').iterdir())) == 3
    assert (tmp_path / 'out' / name).read_text() != 'precious'


def test_a_link_is_replaced_and_what_it_points_to_stays(runs, tmp_path):
    (tmp_path / 'mine').write_text('precious')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'report.md').symlink_to(tmp_path / 'mine')
    report.run([str(runs)], tmp_path / 'out', overwrite=True)
    assert (tmp_path / 'mine').read_text() == 'precious'
    assert not (tmp_path / 'out' / 'report.md').is_symlink()


def test_an_out_that_is_a_file_is_refused(runs, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written'):
        report.run([str(runs)], tmp_path / 'file')


def test_a_single_run(tmp_path, capsys):
    write_run(tmp_path / 'run', 4, 0.5)
    report.run([str(tmp_path / 'run')], tmp_path / 'out')
    printed = capsys.readouterr().out
    assert '1 run in 1 cell: 1 finished.' in printed
    assert re.search(r'\| 1: all runs \| 50\.00 \(1\) \|', printed)
    assert 'baseline' not in printed
    assert len(read_csv(tmp_path / 'out' / 'report.csv')) == 1


def test_runs_without_labels(tmp_path):
    for seed in range(2):
        write_run(tmp_path / 'runs' / str(seed), seed, None)
    report.run([str(tmp_path / 'runs')], tmp_path / 'out')
    row = texts(report_of(tmp_path / 'runs'), 'Test accuracy')[0]
    assert [row[name] for name in MEASURES.values()] == ['—'] * 4
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert '<figcaption>Loss</figcaption>' in page
    assert '<figcaption>Test accuracy' not in page


def test_nothing_finished_and_nothing_readable(tmp_path):
    write_run(tmp_path / 'a' / 'run', result=False, metrics=False)
    report.run([str(tmp_path / 'a')], tmp_path / 'a_out')
    assert '<h2>Figures' not in (tmp_path / 'a_out' / 'report.html').read_text()
    write_run(tmp_path / 'b' / 'run')
    (tmp_path / 'b' / 'run' / 'config.json').write_text('?')
    report.run([str(tmp_path / 'b')], tmp_path / 'b_out')
    assert '1 run in 0 cells: 1 damaged.' in (tmp_path / 'b_out' / 'report.md').read_text()
    with pytest.raises(UserError, match='no run has a config that can be read'):
        report.run([str(tmp_path / 'b')], tmp_path / 'c_out', 'epochs=2')


def test_markdown_says_what_its_numbers_mean(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert (
        'Mean ± standard deviation over the seeds (n - 1 in its denominator), in brackets n' in text
    )
    assert '95 % t-interval' in text
    for block in re.findall(r'(?:^\|.*\n)+', text, re.MULTILINE):
        counts = {len(re.findall(r'(?<!\\)\|', line)) for line in block.splitlines()}
        assert len(counts) == 1
