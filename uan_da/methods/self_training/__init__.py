"""Methods that learn from the network's own outputs on the target."""
