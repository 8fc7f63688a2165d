"""System 2, a tenant: energy-based transformers as denoisers and as verifiers of pairs."""

# First, for it imports `ebt.section`, which needs its rules.
import contrastive_jax.config  # noqa: F401
