"""Unsupervised Adaptive Normalization: the layer, its maths, its conversion from BatchNorm, and its kernels."""
