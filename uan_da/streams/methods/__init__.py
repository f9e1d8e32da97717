"""The stream methods, one a file."""
