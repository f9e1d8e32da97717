"""What a model gets right on each domain, and how good it seems without target labels."""
