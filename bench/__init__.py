"""Measurements of the platform, each beside its peer in the same run: ``python -m bench``."""
