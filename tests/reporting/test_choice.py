import pytest

from contrastive_jax import report
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.choice import choose
from tests.reporting.runs import MARGIN, cells_of, fake_result, read_csv, write_run


def _write(folder, seed, test, validation, **config):
    result = fake_result(test, seed, validation_accuracy=validation)
    return write_run(folder, seed, result=result, **config)


@pytest.fixture
def measured(tmp_path):
    """The plain cell is better on test images, the other one on those for validation."""
    folder = tmp_path / 'runs'
    for seed, (test, validation) in enumerate(((0.9, 0.5), (0.8, 0.6))):
        _write(folder / 'plain' / str(seed), seed, test, validation)
    for seed, (test, validation) in enumerate(((0.4, 0.7), (0.5, 0.6))):
        _write(folder / 'margin' / str(seed), seed, test, validation, **MARGIN)
    return folder


def test_the_choice_is_by_validation_alone(measured, tmp_path, capsys):
    report.run([str(measured)], tmp_path / 'out', select=True)
    expected = '2: pairs.select=difficult, pairs.margin=0.1'
    for text in (capsys.readouterr().out, (tmp_path / 'out' / 'report.md').read_text()):
        table = text.partition('## Chosen by validation accuracy')[2].partition('\n## ')[0]
        assert f'| {expected} | 65.00 ± 7.07 (2)' in table
        assert '| 45.00 ± 7.07 (2)' in table
        assert 'mean validation accuracy of 2 cells' in table
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'Chosen by validation accuracy' in page
    rows = read_csv(tmp_path / 'out' / 'report.csv')
    assert {row['pairs.select']: row['chosen'] for row in rows} == {
        'difficult': 'True',
        'none': 'False',
    }
    assert float(rows[0]['validation_accuracy']) == 0.7


def test_nothing_is_chosen_unless_asked(measured, tmp_path, capsys):
    report.run([str(measured)], tmp_path / 'out')
    printed = capsys.readouterr().out
    assert 'Chosen' not in printed
    assert 'Validation accuracy' in printed
    assert 'chosen' not in read_csv(tmp_path / 'out' / 'report.csv')[0]


def test_runs_without_validation_accuracy_are_refused(measured, tmp_path):
    write_run(measured / 'old', 2)
    with pytest.raises(UserError, match=r'--select: .*old has no validation_accuracy') as refused:
        report.run([str(measured)], tmp_path / 'out', select=True)
    assert '\n' not in str(refused.value)
    assert not (tmp_path / 'out').exists()


def test_cells_without_a_finished_run_are_not_compared_and_named(measured, tmp_path, capsys):
    write_run(measured / 'broken', 0, result=False, epochs=3)
    _write(measured / 'plain' / '2', 2, 0.9, 0.1)
    report.run([str(measured)], tmp_path / 'out', select=True)
    printed = capsys.readouterr().out
    assert 'of 2 cells' in printed
    assert 'Not compared, for no run is finished: cell' in printed
    assert 'Not all cells have the same seeds.' in printed


def test_nothing_finished_is_nothing_to_choose_from(tmp_path):
    write_run(tmp_path / 'runs', 0, result=False)
    with pytest.raises(UserError, match='--select: no cell has a finished run'):
        choose(cells_of(tmp_path))


def test_the_first_of_equal_cells_is_chosen_and_the_others_are_named(tmp_path):
    for epochs in (2, 3):
        _write(tmp_path / str(epochs), 0, 0.5, 0.5, epochs=epochs)
    choice = choose(cells_of(tmp_path))
    assert (choice.cell, choice.tied) == (0, (1,))
