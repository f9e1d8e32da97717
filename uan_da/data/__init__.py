"""Data sets, their domains, and batches of them."""
