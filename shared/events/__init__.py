"""One feed of what happens to calls, and whoever waits for it."""
