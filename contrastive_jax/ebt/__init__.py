"""System 2, a tenant: energy-based transformers as denoisers and as verifiers of pairs."""
