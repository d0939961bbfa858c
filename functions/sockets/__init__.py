"""WebSockets on AWS: what their clients say."""
