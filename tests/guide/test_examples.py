"""The examples of the guide run as they stand, on several devices, and are short."""

import re
import runpy
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / 'docs' / 'guide' / 'examples').glob('*.py'))


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} == {
        'flax_linen',
        'jax_optax',
        'shard_map',
        'sharded_jit',
    }


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, capsys):
    assert len(path.read_text().splitlines()) < 40
    # As readers have them; Optax's Adam needs the first.
    with jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow'):
        runpy.run_path(str(path), run_name='__main__')
    said = capsys.readouterr().out
    if '->' in said:
        first, last = map(float, re.findall(r'\d+\.\d+', said))
        assert last < first
    else:
        # Each compares the loss and its gradient by itself.
        assert said.endswith('on one device and on 4\n')
