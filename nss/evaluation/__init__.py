"""Masks and files judged: against the truth, and by themselves."""
