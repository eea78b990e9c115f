"""Clients in use elsewhere, each as it comes from its registry, against Holdall under gunicorn."""
