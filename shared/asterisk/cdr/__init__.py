"""Call detail records: rows, what became of a call, whole calls; pure."""
