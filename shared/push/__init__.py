"""Events for the WebSockets of AWS: put where their connections are told them, and told."""
