"""Click-to-call."""
