"""Scores of any number of rows: planned, computed tile by tile, kept, and resumed."""
