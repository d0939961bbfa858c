"""What runs on a bare machine: stand-ins for the far ends the service talks to."""
