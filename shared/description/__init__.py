"""What the API says of itself: its OpenAPI, and the page that shows it."""
