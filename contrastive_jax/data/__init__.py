"""Data sources, what a run pre-trains on, and the batches of each step."""
