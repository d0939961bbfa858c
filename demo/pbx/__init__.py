"""The inside of the stand-in PBX: a dialplan, channels, calls, a CLI, a control socket, a shell."""
