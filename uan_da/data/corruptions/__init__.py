"""Common corruptions of images, for any data set (Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261).

The fifteen of ImageNet-C and the four extra ones, at severities 1 to 5, as the authors' scripts for CIFAR-10-C and
ImageNet-C define them; and eight conditions of a camera. :mod:`uan_da.data.corruptions.published` lists the former,
:mod:`uan_da.data.corruptions.photometric` the latter.
"""
