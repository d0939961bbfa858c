"""Connections to PBX hosts; knows no Asterisk. `connection` is the only importer of asyncssh."""
