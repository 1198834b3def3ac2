"""What is learnt: a loop, and an objective for each stage."""
