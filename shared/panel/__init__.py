"""Pages for people on duty."""
