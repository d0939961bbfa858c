"""What the handlers share, on Lambda their layer; docs/architecture.md has each room of it."""
