"""Models shared by the tests of the theory."""

import numpy as np

from contrastive_jax.theory import SimilarityModel, spectrum

STRUCTURES = ('block', 'matched')
# The checked example of the paper.
EXAMPLE = SimilarityModel(4, 20, 4, 0.6, 0.1, 0.35)


def random_model(random: np.random.Generator) -> SimilarityModel:
    """Any model the theory covers, small enough for a dense matrix; edges come up often."""
    n = int(random.integers(1, 13))
    beta, gamma, alpha = np.sort(random.uniform(size=3))
    return SimilarityModel(
        int(random.integers(2, 7)),
        n,
        int(random.integers(0, n + 1)),
        float(alpha),
        float(beta) if random.uniform() < 0.8 else 0.0,
        float(gamma),
    )


def classes_ahead(model: SimilarityModel, structure: str) -> bool:
    """Whether the r eigenvalues that tell the classes apart come right behind the first."""
    level = model.alpha + model.other_classes * model.beta
    degree = model.difficult_degree(structure)
    rival = 1 - level * (
        model.difficult_per_class / model.easy_degree + model.easy_per_class / degree
    )
    if structure == 'matched' and model.difficult_per_class > 1:
        rival = 1 - model.samples_per_class * level / degree
    return spectrum(model, structure).eigenvalue(2) > rival + 1e-12
