"""Looks after calls that nobody follows, and after what is due now and then, on AWS."""
