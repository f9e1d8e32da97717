"""The on-disk formats that a card can name, one a file.

A format is built with the folder of its data set and the card's classes, and its options; it serves
``load(domain, split)``, where ``domain`` is the domain's name, or its ``path`` where the card gives one.
"""
