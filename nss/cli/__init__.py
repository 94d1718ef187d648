"""The command ``nss-wgpu``."""
