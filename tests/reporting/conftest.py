import pytest

from tests.reporting.runs import MARGIN, write_run


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
