"""The version of the whole project, which pyproject.toml takes from here."""

__version__ = "0.1.0"
