"""What methods are compared with: the source alone, both domains in one forward, the target's own labels."""
