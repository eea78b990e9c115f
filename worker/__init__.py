"""How gunicorn's workers run: `threads` serves the application, `holding` holds who waits,
and `front` answers before either has to.

Nothing of the service is imported here; what it answers at once is asked of the application.
"""
