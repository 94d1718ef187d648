"""Reading: files, bytes, file objects and arrays to 8-bit RGB, in the colours that they mean."""
