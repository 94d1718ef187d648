"""What can be asked for: calls, their fields and types, and their description."""
