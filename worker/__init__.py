"""How gunicorn's workers run: `threads` serves the application, `front` stands before it.

Nothing of the service is imported here; what it answers at once is asked of the application.
"""
