"""Hanging up."""
