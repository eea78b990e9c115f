"""The page in a real browser, against the service as users run it."""
