"""The PBX's own records."""
