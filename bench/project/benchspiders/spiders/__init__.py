"""The two spiders."""
