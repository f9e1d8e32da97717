"""Methods for tasks of several sources."""
