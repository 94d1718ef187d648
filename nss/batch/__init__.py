"""Many images: which files, to which names, overlapped, and recorded."""
