"""Scores of a checkpoint that need no target label; higher is better.

A validator is a function. The names of its positional parameters say what it reads, of what
:class:`uan_da.evaluation.evidence.Evidence` has: predictions on the target, whose labels are masked, on the source, or
importance weights. Its keyword-only parameters are its options in a recipe.
"""
