"""Which models there are, what a name stands for, and which one "auto" is."""
