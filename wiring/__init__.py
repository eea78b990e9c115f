"""What `app.create_app` puts the service together from. Only `app` knows this package."""
