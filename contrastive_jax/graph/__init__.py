"""The similarity graph of a whole data set: difficulty of each sample, other scores, subsets."""

from contrastive_jax.graph import scores, subsets
from contrastive_jax.graph.density import isolation
from contrastive_jax.graph.difficulty import SampleDifficulty, sample_difficulty
from contrastive_jax.graph.neighbours import nearest_difficult

__all__ = [
    'SampleDifficulty',
    'isolation',
    'nearest_difficult',
    'sample_difficulty',
    'scores',
    'subsets',
]
