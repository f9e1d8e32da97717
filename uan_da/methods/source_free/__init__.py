"""Methods that adapt a trained run to target images, without the source."""
