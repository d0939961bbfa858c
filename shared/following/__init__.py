"""What became of calls."""
