"""Methods that classify by the text tower of CLIP."""
