"""Operators that compute a training step of UAN at the price of BatchNorm."""
