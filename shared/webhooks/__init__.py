"""Webhooks: the feed of events, signed and sent to whoever asked for it."""
