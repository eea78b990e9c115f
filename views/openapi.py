"""The API's description, and a page that shows it without asking any other host."""

from importlib.resources import files
from pathlib import Path
from typing import cast

from flask import Response, current_app, jsonify, send_from_directory
from flask_openapi3.openapi import OpenAPI

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Holdall API</title>
<link rel="stylesheet" href="docs/assets/css/swagger-ui.css">
<div id="api"></div>
<script src="docs/assets/js/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#api", validatorUrl: null});
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def document() -> Response:
    """Describe every operation of the API (OpenAPI 3.1)."""
    return jsonify(cast(OpenAPI, current_app).api_doc)


def page() -> Response:
    """Show the description as a page."""
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def start() -> Response:
    """Start the page."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


def asset(name: str) -> Response:
    """Send a file of the page's viewer, out of the installed package."""
    return send_from_directory(_assets(), name, max_age=86400)


def _assets() -> Path:
    return Path(str(files("flask_openapi3_swagger"))) / "templates" / "swagger"
