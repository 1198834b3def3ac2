"""Training: one loop, and an objective for each stage."""
