"""Who did what, for the enterprise itself."""
