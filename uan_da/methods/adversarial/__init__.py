"""Methods in which a discriminator, or a second head, works against the features."""
