"""Streams: a trained network meets new conditions, answers each image once, and may adapt as it goes.

Read in this order: :mod:`~uan_da.streams.setting` (in which order images come), :mod:`~uan_da.streams.method` (what
adapts), :mod:`~uan_da.streams.evaluator` (who asks, and who knows the labels), :mod:`~uan_da.streams.scores`.
"""
