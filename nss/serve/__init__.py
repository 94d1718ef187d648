"""A page and an API on the user's own machine: ``nss-wgpu serve``."""
