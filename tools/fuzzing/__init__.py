"""The parts of ``tools/fuzz.py``: what is mutated, how a case is judged, and the children that cases run in."""
