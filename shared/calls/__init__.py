"""Place, end, transfer, read a call."""
