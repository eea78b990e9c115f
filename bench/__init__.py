"""How fast Holdall is, beside a naive Flask blueprint and nginx: `python -m bench --help`.

Nothing in the service imports this package, and it uses the service only over HTTP.
"""
