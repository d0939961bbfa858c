"""Webhooks, managed by their enterprise."""
