"""One folder, one endpoint, one AWS Lambda function."""
