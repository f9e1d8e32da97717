"""Streams: a trained network meets new conditions, predicts each image once, and may adapt meanwhile.

Read in this order: :mod:`~uan_da.streams.setting` (the order of the images), :mod:`~uan_da.streams.method` (the
base class of methods), :mod:`~uan_da.streams.evaluator` (calls a method and knows the labels),
:mod:`~uan_da.streams.scores`.
"""
