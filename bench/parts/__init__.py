"""One module a measurement: SUMMARY, PARAMETERS and `run`, which gives its tables."""
