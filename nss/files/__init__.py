"""Writing: a picture encoded, verified by decoding it, and put in its place."""
