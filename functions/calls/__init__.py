"""The calls of an enterprise."""
