"""WebSockets on AWS: what their clients are told."""
