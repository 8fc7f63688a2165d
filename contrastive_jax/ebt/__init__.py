"""System 2: energy-based transformers as denoisers and as verifiers of pairs.

No other room needs this folder.
"""

# This import must be first: `config` imports `ebt.section`, which needs the rules of `config`.
import contrastive_jax.config  # noqa: F401
