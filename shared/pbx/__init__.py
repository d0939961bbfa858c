"""The PBX hosts: which connection, which console, what to try again."""
