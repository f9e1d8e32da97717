"""The training of a recipe: steps, epochs, checkpoints, the run folder."""
