"""The service's state."""
