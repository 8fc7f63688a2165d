import csv
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting import markdown, statistics, tables
from contrastive_jax.reporting.collect import MEASURES, as_text, find_runs, read_run
from tests.helpers import small_config

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))), None)
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">&'
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


def write_run(folder, seed=0, accuracy=0.5, *, result=True, metrics=True, losses=(3, 1), **config):
    """A workdir of two epochs of two steps; `result` may be the content of the file."""
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
        (folder / 'metrics.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    return folder


@pytest.fixture
def runs(tmp_path):
    """A plain cell with seeds 0 to 2, and one with a margin, where seed 2 is unfinished."""
    folder = tmp_path / 'runs'
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
    place = statistics.find_baseline(cells, baseline)
    return tables.make_report(runs, statistics.name_by_changes(cells, place), place)


def texts(report, title):
    """A table by its title, a dict a row."""
    (table,) = (t for t in (*report.results, *report.details) if t.title.startswith(title))
    return [
        dict(zip(table.columns, (entry.text for entry in row), strict=True)) for row in table.rows
    ]


# Statistics.


def test_summary_of_numbers_known_by_hand():
    found = statistics.summarise([1.0, 2.0, 6.0])
    assert found == (3, pytest.approx(math.sqrt(7)), 3)
    assert statistics.summarise([4.0]) == (4, None, 1)
    assert statistics.summarise([]) is None


def test_a_paired_difference_is_that_of_the_t_test():
    rng = np.random.default_rng(0)
    ours, base = rng.normal(size=(2, 7))
    found = statistics.paired(dict(enumerate(ours)), dict(enumerate(base)))
    expected = ttest_rel(ours, base).confidence_interval(0.95)
    assert found.n == 7
    np.testing.assert_allclose(found.mean, (ours - base).mean())
    np.testing.assert_allclose(found.interval, (expected.low, expected.high))


def test_a_paired_difference_by_hand():
    # Differences 1 and 3: mean 2, standard error 1, and t of one degree of freedom is 12.7062.
    found = statistics.paired({0: 2.0, 1: 4.0, 5: 9.0}, {0: 1.0, 1: 1.0, 7: 0.0})
    assert (found.mean, found.n) == (2, 2)
    np.testing.assert_allclose(found.interval, (2 - 12.7062, 2 + 12.7062), atol=1e-4)


def test_one_pair_has_no_interval_and_none_no_difference():
    assert statistics.paired({0: 2.0, 1: 3.0}, {1: 1.0}) == (2, None, 1)
    assert statistics.paired({0: 2.0}, {1: 1.0}) is None
    assert statistics.paired({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).interval == (1, 1)


# Cells.


def test_seeds_do_not_split_cells_and_fields_do(runs):
    cells = cells_of(runs)
    assert [cell.name for cell in cells] == [
        'pairs.select=none, pairs.margin=0',
        'pairs.select=difficult, pairs.margin=0.1',
    ]
    assert [[run.seed for run in cell.runs] for cell in cells] == [[0, 1, 2]] * 2


@pytest.mark.parametrize(
    ('paths', 'cells'),
    [
        (['0.npz', '1.npz', '2.npz'], 1),
        (['a.npz', 'a.npz', 'b.npz'], 2),
        (['a.npz', 'a.npz', 'a.npz'], 1),
    ],
)
def test_a_path_splits_cells_unless_each_seed_has_its_own(tmp_path, paths, cells):
    for seed, path in enumerate(paths):
        write_run(tmp_path / str(seed), seed, removal__ratio=0.1, removal__scores=path)
    assert len(cells_of(tmp_path)) == cells


def test_two_score_files_for_one_seed_are_two_cells(tmp_path):
    for name in 'ab':
        write_run(tmp_path / name, 0, removal__ratio=0.1, removal__scores=f'{name}.npz')
    assert [cell.name for cell in cells_of(tmp_path)] == [
        'removal.scores=a.npz',
        'removal.scores=b.npz',
    ]


@pytest.mark.parametrize(('name', 'cells'), [('cifar10', 1), ('npz', 2)])
def test_where_a_data_set_lies_matters_if_it_is_the_data_set(tmp_path, name, cells):
    for seed, place in enumerate(('here', 'here', 'there')):
        write_run(tmp_path / str(seed), seed, data__name=name, data__data_dir=place)
    assert len(cells_of(tmp_path)) == cells


def test_cells_are_ordered_by_size_after_the_defaults(tmp_path):
    for width in (8, 128, 16, 64):
        write_run(tmp_path / str(width), model__width=width)
    names = [cell.name for cell in cells_of(tmp_path)]
    assert names == [f'model.width={width}' for width in (64, 8, 16, 128)]


@pytest.mark.parametrize(
    ('wanted', 'place'), [(None, 0), ('pairs.margin=0.10', 1), ('pairs.select=none,epochs=2', 0)]
)
def test_the_baseline_is_the_untreated_cell_or_the_one_named(runs, wanted, place):
    assert statistics.find_baseline(cells_of(runs), wanted) == place


@pytest.mark.parametrize(
    ('wanted', 'words'),
    [
        ('epochs=2', 'picks 2 cells, must pick one; it fits: pairs.select=none'),
        ('pairs.margin=7', 'picks 0 cells.*there are: pairs.select=none'),
        ('pairs.margn=0', "no run has a field 'pairs.margn'; the nearest is pairs.margin"),
        ('pairs.margin', "'pairs.margin' is no field=value"),
    ],
)
def test_a_baseline_must_pick_one_cell(runs, wanted, words):
    with pytest.raises(UserError, match=words):
        statistics.find_baseline(cells_of(runs), wanted)


def test_runs_of_one_seed_count_once(runs):
    write_run(runs / 'again', 0, 0.7)
    report = report_of(runs)
    assert texts(report, 'Cells')[0]['seeds'] == '0 (2 runs) 1 2'
    # Of 0.6 (of 0.5 and 0.7), 0.6 and 0.7.
    assert texts(report, 'Test accuracy')[0]['linear'] == '63.33 ± 5.77 (3)'


# What is said.


def test_unequal_seeds_are_stated(runs):
    write_run(runs / 'more', 3, 0.9, **MARGIN)
    report = report_of(runs)
    assert report.summary == '7 runs in 2 cells: 6 finished, 1 unfinished.'
    seeds = [row['seeds'] for row in texts(report, 'Cells')]
    assert seeds == ['0 1 2; 3 missing', '0 1 3; 2 unfinished']
    accuracies = texts(report, 'Test accuracy')
    assert [row['cell'] for row in accuracies] == [
        '1: baseline',
        '2: pairs.select=difficult, pairs.margin=0.1',
    ]
    assert [row['linear'] for row in accuracies] == ['60.00 ± 10.00 (3)', '76.67 ± 15.28 (3)']
    # Seeds 0 and 1: 10 and 20 points, so 15 -+ 12.7062 * 5.
    (difference,) = texts(report, 'Difference')
    assert difference['linear'] == '+15.00 [-48.53, +78.53] (2)'


def test_fields_equal_everywhere_are_listed_once(runs):
    settings = {row['field']: row['value'] for row in texts(report_of(runs), 'Settings')}
    assert settings['epochs'] == '2'
    assert not settings.keys() & {'seed', 'pairs.select', 'pairs.margin'}


def test_what_was_removed_and_how_fast_it_was(runs):
    row = texts(report_of(runs), 'Images')[0]
    assert row['removed'] == '3 ± 0 (3)'
    assert row['removed by class'] == 'cat: 1, dog: 2'
    assert row['pairs/s'] == '101 ± 1 (3)'


def test_representations_without_training_and_origins(runs):
    report = report_of(runs)
    first = texts(report, 'Without pre-training')[:2]
    assert [(row['representation'], row['linear']) for row in first] == [
        ('untrained encoder', '50.00 ± 0.00 (3)'),
        ('raw pixels', '25.00 ± 0.00 (3)'),
    ]
    assert [(row['value'], row['runs']) for row in texts(report, 'Made with')] == [
        ('python 3.11.7, jax 0.10.2', '5'),
        ('abc', '5'),
    ]


@pytest.mark.parametrize(
    ('result', 'status', 'words'),
    [
        (False, 'unfinished', 'no result.json; 4 steps, 2 epochs'),
        ('{"linear_accuracy": 0.9', 'damaged', 'result.json: damaged (Expecting'),
        ('[1]', 'damaged', 'result.json: damaged (no JSON object'),
        ('[' * 100000, 'damaged', 'result.json: damaged'),
        ({'linear_accuracy': 'high'}, 'damaged', 'linear_accuracy is no number'),
        ('{"linear_accuracy": NaN}', 'damaged', 'linear_accuracy is no number'),
    ],
)
def test_runs_that_did_not_finish_are_shown_and_not_averaged(runs, result, status, words):
    write_run(runs / 'bad', 3, result=result)
    report = report_of(runs)
    (problem,) = (line for line in report.problems if '/bad:' in line)
    assert f'{status} (' in problem
    assert words in problem
    assert f'; 3 {status}' in texts(report, 'Cells')[0]['seeds']
    assert texts(report, 'Test accuracy')[0]['linear'] == '60.00 ± 10.00 (3)'
    assert problem in markdown.results(report)


@pytest.mark.parametrize('content', ['{', '{"epochs": 3}', '{"seed": "0"}', b'\xff', None])
def test_a_run_of_unknown_config_belongs_to_no_cell(runs, content):
    path = write_run(runs / 'bad', 3, 0.9) / 'config.json'
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = report_of(runs)
    assert report.summary == '7 runs in 2 cells: 5 finished, 1 unfinished, 1 damaged.'
    assert any('bad: damaged (' in line and 'config.json' in line for line in report.problems)
    assert texts(report, 'Test accuracy')[0]['linear'] == '60.00 ± 10.00 (3)'


def test_metrics_are_averaged_within_epochs_and_their_damage_is_noted(tmp_path):
    path = write_run(tmp_path / 'run') / 'metrics.jsonl'
    diverged = '{"step": 5, "epoch": 2, "loss": null, "different_class_share": 0.5}\n'
    path.write_text(path.read_text() + diverged + '{"step": 6, "ep')
    run = read_run(tmp_path / 'run')
    assert run.curves == {'loss': {0: 3.5, 1: 1.5}, 'different_class_share': {2: 0.5}}
    assert run.note == (
        '5 steps, 3 epochs; damaged lines in metrics.jsonl: 1; loss not finite from step 5'
    )


def test_curves_are_of_finished_runs_over_the_epochs_of_all(runs):
    write_run(runs / 'long', 3, losses=(5, 5, 5))
    write_run(runs / 'lost', 4, result=False, losses=(99, 99, 99))
    epochs, values = statistics.curves(cells_of(runs)[0], 'loss')
    assert epochs == [0, 1]
    np.testing.assert_array_equal(values, [[3.5, 1.5]] * 3 + [[5.5, 5.5]])


def test_equal_values_have_equal_texts():
    assert as_text(0) == as_text(0.0) == as_text(-0.0) == '0'
    assert [as_text(v) for v in (1e-4, True, None, [1, 'a'])] == [
        '0.0001',
        'True',
        'None',
        '[1, "a"]',
    ]
    assert as_text('a\x1b[2J\n\ud800') == r'a\x1b[2J\n\ud800'


# Which runs.


def test_runs_are_found_at_any_depth_and_once(runs):
    (runs / 'plain' / '0' / 'checkpoints').mkdir()
    (runs / 'plain' / '0' / 'checkpoints' / 'config.json').write_text('{}')
    found = find_runs([str(runs / 'plain'), str(runs), str(runs / 'plain' / '1')])
    assert [path.relative_to(runs) for path in found] == [
        Path(cell, str(seed)) for cell in ('margin', 'plain') for seed in range(3)
    ]


@pytest.mark.parametrize(
    ('folders', 'words'),
    [
        ([], 'RUNS: missing'),
        (['nowhere'], 'nowhere: no such folder'),
        (['.', 'empty'], 'empty: holds no run, at no depth'),
    ],
)
def test_folders_without_runs_are_refused(runs, monkeypatch, folders, words):
    monkeypatch.chdir(runs)
    (runs / 'empty').mkdir()
    with pytest.raises(UserError, match=words):
        report.run(folders, runs / 'out')
    assert not (runs / 'out').exists()


# Files.


def read_csv(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


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
    assert 'id="loss-' in page
    assert 'id="linear_accuracy-' not in page


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


# The page.


class Elements(HTMLParser):
    """Names, attributes and texts, as a browser would see them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def hostile(runs):
    """A folder, a value, a class and a commit that would like to be more than text."""
    write_run(
        runs / f'{EVIL.replace("/", "")}|\x1b[2J',
        result=fake_result(0.4, 0, removed_by_class={EVIL: 1, 'b': 2}, git_commit=EVIL),
        data__name=f'{EVIL} | [x](http://example.org)',
    )
    return runs


def test_what_comes_from_files_is_shown_as_text(hostile, tmp_path, capsys):
    report.run([str(hostile)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    found = Elements(page)
    assert found.tags.count('script') == 1
    assert 'img' not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith('on')]
    assert any(EVIL in text for text in found.texts)
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert not re.search(r'<(script|img)|\]\(|\x1b', text + capsys.readouterr().out)
    assert {row['data.name'] for row in read_csv(tmp_path / 'out' / 'report.csv')} == {
        'digits',
        f'{EVIL} | [x](http://example.org)',
    }


def test_the_page_needs_nothing_beside_itself(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    found = Elements(page)
    assert not {'link', 'iframe', 'object', 'image'} & set(found.tags)
    fetched = [v for k, v in found.attributes if k in ('src', 'href', 'xlink:href', 'action')]
    assert all(value.startswith('#') for value in fetched)
    assert '@import' not in page
    ids = [value for name, value in found.attributes if name == 'id']
    assert len(ids) == len(set(ids))
    assert {f'#{name}' for name in ids} >= set(fetched)
    # Colours that a dark page could not replace.
    assert not re.findall(r'(?:fill|stroke): ?#(?!f{6})\w+', page)


def test_numbers_are_marked_to_be_sorted_as_such(runs, tmp_path):
    report.run([str(runs)], tmp_path / 'out')
    page = (tmp_path / 'out' / 'report.html').read_text()
    marked = re.findall(r'data-number="([^"]*)">(60\.00|70\.00) ±', page)
    assert {(float(number), text) for number, text in marked} == {(60, '60.00'), (70, '70.00')}


def browse(page, profile):
    """The document after its scripts ran, and what the browser logged."""
    command = [
        CHROMIUM,
        *('--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync'),
        *('--disable-quic', '--disable-background-networking', '--disable-component-update'),
        *('--enable-logging=stderr', '--v=0', '--window-size=390,800', '--dump-dom'),
        f'--user-data-dir={profile}',
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# Sorts the table of runs by its column `linear` twice, and says what came out in the title.
PROBE = """<script>
const table = [...document.querySelectorAll('table')].find(
  (table) => table.tHead.textContent.includes('status'));
const button = [...table.querySelectorAll('button')].find(
  (button) => button.textContent === 'linear');
const said = [];
for (const turn of [1, 2]) {
  button.focus();
  document.activeElement.click();
  const column = button.closest('th').cellIndex;
  said.push(button.closest('th').getAttribute('aria-sort'));
  said.push(...[...table.tBodies[0].rows].map((row) => row.cells[column].textContent));
}
said.push(document.documentElement.scrollWidth <= innerWidth ? 'fits' : 'scrolls');
document.title = said.join(' ');
</script>"""


@pytest.mark.skipif(
    CHROMIUM is None, reason='no chromium found: the page is not tried in a browser'
)
def test_the_page_works_in_a_browser(hostile, tmp_path):
    write_run(hostile / 'ten', 5, 0.1)
    write_run(hostile / 'nine', 6, 0.095)
    report.run([str(hostile)], tmp_path / 'out')
    path = tmp_path / 'out' / 'report.html'
    document, log = browse(path, tmp_path / 'profile')
    assert 'CONSOLE' not in log
    assert Elements(document).tags.count('script') == 1

    page = re.sub('<meta http-equiv.*?>', '', path.read_text()) + PROBE
    path.with_name('probe.html').write_text(page)
    document, log = browse(path.with_name('probe.html'), tmp_path / 'profile')
    assert 'CONSOLE' not in log
    upwards = '9.50 10.00 40.00 50.00 60.00 60.00 70.00 80.00'
    downwards = ' '.join(reversed(upwards.split()))
    said = re.search('<title>(.*?)</title>', document).group(1)
    assert said == f'ascending {upwards} — descending {downwards} — fits'


# The command.


def command(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'contrastive_jax.report', *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_command_writes_and_prints(runs, tmp_path):
    done = command(
        f'{runs}/plain', f'{runs}/margin', f'--out={tmp_path}/out', '--baseline=pairs.margin=0.1'
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'report.md',
        'report.csv',
        'report.html',
    }
    assert '| 2: baseline' in done.stdout
    assert '1: pairs.select=none, pairs.margin=0 | -15.00 [-78.53, +48.53] (2)' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--out=x'], 'RUNS: missing'),
        (['runs'], '--out'),
        (['nowhere', '--out=x'], 'nowhere: no such folder'),
    ],
)
def test_the_command_says_what_it_needs(arguments, words):
    done = command(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_other_commands_still_take_flags_alone():
    done = subprocess.run(
        [sys.executable, '-m', 'contrastive_jax.score', 'runs'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "error: unexpected argument 'runs'; flags are written --name=value\n"
