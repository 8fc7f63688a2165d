import pytest

from contrastive_jax.config.files import load_config
from contrastive_jax.runtime.files import write_json
from launch.grids.ebt_denoise import CELLS
from studies import denoising


@pytest.fixture
def run(tmp_path):
    """Makes the folder of a finished run of a cell of the grid."""

    def make(folder, cell='energy, S1', seed=0, **fields):
        config = load_config('configs/ebt_denoise.py')
        config.update_from_flattened_dict(CELLS[cell] | fields | {'seed': seed})
        workdir = tmp_path / folder
        workdir.mkdir()
        write_json(workdir / 'config.json', config.to_dict())
        psnr = {'gaussian 99': [17.0 + seed, 19.0 + seed]}
        of_task = {'psnr': psnr, 'evaluations': [0, 1], 'flops': 2e6}
        measures = ('linear_accuracy', 'few_label_accuracy', 'knn_accuracy')
        result = {'denoising': of_task, **dict.fromkeys(measures, 0.9)}
        write_json(workdir / 'result.json', result)
        return str(workdir)

    return make


def test_the_cells_of_the_grid_are_tabled_over_their_seeds(run, tmp_path):
    folders = [run(f'{cell}{seed}', cell, seed) for cell in CELLS for seed in (0, 1)]
    denoising.main([*folders, '--out', str(tmp_path / 'out')])
    table = (tmp_path / 'out' / 'denoising.md').read_text()
    assert table.count('| 17.50 ± 0.71 | 19.50 ± 0.71 |') == len(CELLS)
    assert (tmp_path / 'out' / 'denoising.png').stat().st_size


def test_a_seed_counts_once(run, tmp_path):
    folder, other = run('one'), run('two')
    for given in ([folder, folder], [folder, other]):
        with pytest.raises(SystemExit, match='have one seed and are both energy, S1'):
            denoising.main([*given, '--out', str(tmp_path / 'out')])


def test_runs_of_other_settings_are_no_seeds(run, tmp_path):
    folder = run('one')
    for other in (
        run('two', seed=1, epochs=2),
        run('another kind', 'feed-forward', epochs=2),
    ):
        with pytest.raises(
            SystemExit, match=r'has another setting than .*epochs: 60 there, 2 here'
        ):
            denoising.main([folder, other, '--out', str(tmp_path / 'out')])
    # Only another kind may differ in what the grid sets.
    steps = run('three', seed=1, **{'denoise.steps': 2})
    with pytest.raises(SystemExit, match=r'denoise\.steps: 1 there, 2 here'):
        denoising.main([folder, steps, '--out', str(tmp_path / 'out')])


def test_an_encoder_is_refused(run, tmp_path):
    folder = run('one', **{'model.name': 'conv'})
    with pytest.raises(SystemExit, match=r'holds an encoder \(conv\), but this study'):
        denoising.main([folder, '--out', str(tmp_path / 'out')])
