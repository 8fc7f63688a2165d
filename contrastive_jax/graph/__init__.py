"""The similarity graph of a whole data set: difficulty of each sample, other scores, subsets."""

from contrastive_jax.graph import scores, subsets
from contrastive_jax.graph.difficulty import SampleDifficulty, sample_difficulty

__all__ = ['SampleDifficulty', 'sample_difficulty', 'scores', 'subsets']
