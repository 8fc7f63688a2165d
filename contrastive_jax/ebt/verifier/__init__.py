"""System 2: an energy-based verifier that looks again at the pairs a cosine finds difficult."""
