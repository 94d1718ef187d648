"""Interfaces of other tools, for programs that were written for them."""
