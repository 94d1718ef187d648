"""A folder whose photos are cut out as they appear, for print shops and shared folders: ``serve --watch IN OUT``."""
