"""Handing a customer over."""
