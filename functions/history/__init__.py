"""The PBX's own call history."""
