"""Face 3: the dashboard. Pages over the same services as the API, never a second way to do a thing."""
