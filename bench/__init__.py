"""How fast Holdall is, beside nginx and other file servers: `python -m bench --help`.

Nothing in the service imports this package, and it uses the service only over HTTP.
"""
