"""Lambda's environment, AWS's clients, the log-ins that they may replace."""
