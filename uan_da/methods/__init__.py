"""Adaptation methods: how unlabelled target images enter the loss. One method a file."""
