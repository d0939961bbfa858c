"""The request's edge: the app, its errors, its fields; all of FastAPI."""
