"""Processes that do the host's part of photos: started, given work, and taken out of the way, whatever ends first."""
