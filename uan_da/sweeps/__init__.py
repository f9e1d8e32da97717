"""Grids of runs: what is left of one, who trains it, and the table of what came out."""
