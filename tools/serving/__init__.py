"""The parts of ``serve_load.py``, ``serve_compare.py`` and ``serve_fuzz.py``: a server, and what is sent to it."""
