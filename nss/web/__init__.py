"""A folder of static files that cuts out photos in a visitor's browser: the page, and models compiled for it."""
