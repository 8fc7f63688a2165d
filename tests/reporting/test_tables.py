import numpy as np
import pytest

from contrastive_jax.reporting import markdown, statistics
from contrastive_jax.reporting.collect import as_text, find_runs, read_run
from contrastive_jax.reporting.details import rows_of_runs
from contrastive_jax.reporting.entries import DASH
from tests.reporting.runs import MARGIN, cells_of, fake_result, report_of, texts, write_run


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
    # Seeds 0 and 1 alone: too few for an interval.
    (difference,) = texts(report, 'Difference')
    assert difference['linear'] == '+15.00 [—] (2)'


@pytest.mark.parametrize(
    ('gains', 'known', 'shown'),
    [
        ((0.1, 0.2, 0.3), {}, '+20.00 [-4.84, +44.84] (3)'),
        # One of ten images: sqrt((10^2 + 10^2 / 6) / 3) * 4.3027.
        ((0.1, 0.2, 0.3), {'test_images': 10}, '+20.00 [-6.83, +46.83] (3)'),
        ((0.1, 0.1, 0.1), {}, '+10.00 [—] (3)'),
        ((0.1, 0.1, 0.1), {'test_images': 10}, '+10.00 [—] (3)'),
    ],
)
def test_intervals_of_three_seeds(tmp_path, gains, known, shown):
    for seed, gain in enumerate(gains):
        for name, accuracy, fields in (('plain', 0.5, {}), ('margin', 0.5 + gain, MARGIN)):
            result = fake_result(accuracy, seed, **known)
            write_run(tmp_path / name / str(seed), seed, result=result, **fields)
    (difference,) = texts(report_of(tmp_path), 'Difference')
    assert difference['linear'] == shown


def test_fields_equal_everywhere_are_listed_once(runs):
    settings = {row['field']: row['value'] for row in texts(report_of(runs), 'Settings')}
    assert settings['epochs'] == '2'
    assert not settings.keys() & {'seed', 'pairs.select', 'pairs.margin'}


def test_settings_are_compared_each_with_its_own_baseline(runs):
    # Three seeds of another batch size, whose accuracies are another story.
    for seed, accuracy in enumerate((0.2, 0.3, 0.4)):
        write_run(runs / 'plain 64' / str(seed), seed, accuracy, batch_size=64)
        write_run(runs / 'margin 64' / str(seed), seed, accuracy + 0.05, batch_size=64, **MARGIN)
    rows = {row['cell'].partition(': ')[2]: row for row in texts(report_of(runs), 'Difference')}
    treated = rows['batch_size=64, pairs.select=difficult, pairs.margin=0.1']
    assert treated['linear'].startswith('+5.00')
    assert treated['less cell'] == '3'
    assert rows['batch_size=64']['linear'].startswith('-30.00')
    assert rows['batch_size=64']['less cell'] == '1'


def test_what_was_removed_and_how_fast_it_was(runs):
    row = texts(report_of(runs), 'Images')[0]
    assert row['removed'] == '3 ± 0 (3)'
    assert row['removed by class'] == 'cat: 1, dog: 2'
    assert row['pairs/s'] == '101 ± 1 (3)'


def test_equal_epochs_and_equal_updates_are_told_apart(tmp_path):
    results = {'full': (100, 10.0), 'removed': (80, 10.0), 'fixed': (100, 12.5)}
    for place, (name, (steps, epochs)) in enumerate(results.items()):
        result = fake_result(0.5, 0, steps=steps, epochs=epochs)
        write_run(tmp_path / name, result=result, model__width=4 + place)
    report = report_of(tmp_path)
    rows = texts(report, 'Images')
    assert [(row['updates'], row['epochs']) for row in rows] == [
        ('100 (1)', '10.00 (1)'),
        ('80 (1)', '10.00 (1)'),
        ('100 (1)', '12.50 (1)'),
    ]
    (table,) = (table for table in report.results if table.title.startswith('Difference'))
    assert 'Not of as many updates as the baseline: cell 2; see' in table.note


def test_a_result_does_not_take_the_column_of_a_field(tmp_path):
    for epochs in (2, 3):
        write_run(tmp_path / f'{epochs}', result=fake_result(0.5, 0, epochs=9.5), epochs=epochs)
    runs = [read_run(path) for path in sorted(tmp_path.iterdir())]
    rows = rows_of_runs(runs, statistics.group(runs))
    assert [(row['epochs'], row['result.epochs']) for row in rows] == [('2', 9.5), ('3', 9.5)]


def test_rows_of_runs_number_the_cells_as_the_tables_do(runs):
    everything = [read_run(path) for path in find_runs([str(runs)])]
    rows = rows_of_runs(everything, statistics.group(everything))
    cells = [row['cell'].partition(':')[0] for row in texts(report_of(runs), 'Test accuracy')]
    assert cells == ['1', '2']
    assert {row['pairs.select']: str(row['cell']) for row in rows} == {
        'none': '1',
        'difficult': '2',
    }


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


def test_no_number_of_a_damaged_result_is_averaged(runs):
    write_run(runs / 'bad', 3, result=fake_result(0.9, 3) | {'linear_accuracy': 'high'})
    assert texts(report_of(runs), 'Test accuracy')[0]['kNN'] == '60.00 ± 10.00 (3)'


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


def test_cells_of_other_images_are_not_subtracted(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f'digits{seed}', seed, 0.9, **MARGIN)
        write_run(tmp_path / f'own{seed}', seed, 0.1, data__name='npz', data__data_dir='own.npz')
    (row,) = texts(report_of(tmp_path), 'Difference to the baseline')
    assert row['linear'] == DASH


def test_a_report_without_an_untreated_cell_says_so(runs, tmp_path):
    note = 'No cell is untreated; --baseline chooses another.'
    write_run(tmp_path / 'treated' / 'a', 0, **MARGIN)
    write_run(tmp_path / 'treated' / 'b', 0, pairs__select='difficult', pairs__margin=0.3)
    for folder, said in ((runs, False), (tmp_path / 'treated', True)):
        found = report_of(folder)
        (table,) = (x for x in (*found.results, *found.details) if x.title == 'Cells')
        assert (note in table.note) == said
