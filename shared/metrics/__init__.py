"""What a monitoring system reads of a long-lived process: all of prometheus_client."""
