"""Backbones and the classifier around them."""
