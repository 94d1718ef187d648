"""Compiled models: what a backend needs to run a network, as data that one process makes and another reads."""
