"""Methods for targets with classes that the source lacks."""
