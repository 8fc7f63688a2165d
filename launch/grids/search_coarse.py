r"""Three margins and three factors: what can be afforded where `search` is too much.

Choose on seeds that no later table uses, then compare on others, with the strengths behind `--`:
    python -m launch.sweep --grid=search_coarse --first_seed=100 --seeds=2 --config=CONFIG \
        --runs=SEARCH
    python -m contrastive_jax.report --select SEARCH/search_coarse.txt --out=search
    python -m launch.sweep --grid=table4 --runs=RUNS --config=CONFIG -- \
        --config.pairs.margin=MARGIN --config.pairs.temperature_scale=FACTOR
"""

from . import PLAIN, Fields

CELLS: dict[str, Fields] = {'baseline': PLAIN}
for _margin in (0.05, 0.1, 0.3):
    CELLS[f'sigma {_margin}'] = {'arm': 'margin', 'pairs.margin': _margin}
for _factor in (0.5, 0.7, 0.9):
    CELLS[f'rho {_factor}'] = {'arm': 'temperature', 'pairs.temperature_scale': _factor}
