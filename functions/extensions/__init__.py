"""The state of an extension."""
