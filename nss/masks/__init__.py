"""What is done to a mask, and what a mask says of its photo."""
