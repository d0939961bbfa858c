"""Connections to PBX hosts, all of asyncssh; knows no Asterisk."""
