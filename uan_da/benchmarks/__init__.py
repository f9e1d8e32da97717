"""What the norms cost, as ratios to BatchNorm."""
