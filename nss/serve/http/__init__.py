"""HTTP itself: who may ask, what comes in and goes out, and the server's beginning and end."""
