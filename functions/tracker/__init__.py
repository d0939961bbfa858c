"""Following calls on AWS."""
