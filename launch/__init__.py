"""Starts the commands on many machines: grids, Slurm, TPU pods."""
