"""Methods for targets of which some images have labels."""
