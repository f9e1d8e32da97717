"""The command line: thin commands over the library; torch is imported inside them, so that ``--help`` is instant."""
