"""Listening in, whispering, barging."""
