"""Where the numbers of a training can go beside its run folder: each is an optional extra, and off by default."""
