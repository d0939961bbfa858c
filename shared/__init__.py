"""The small layer that every handler shares: auth, command rendering, execution."""
