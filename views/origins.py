"""Lets pages of other origins call the API. Delivery plans the headers of downloads itself."""

import re

from flask import Flask, Response, request
from flask_cors import CORS

from config import Settings
from services import cors


def register(app: Flask, settings: Settings) -> None:
    """Let pages of the configured origins call the API."""
    if not settings.cors_origins:
        return
    CORS(
        app,
        resources={r"/api/.*": {"origins": [_exactly(each) for each in settings.cors_origins]}},
        methods=list(cors.ALLOWED_METHODS),
        allow_headers=list(cors.ALLOWED_HEADERS),
        expose_headers=list(cors.EXPOSED_HEADERS),
        max_age=cors.PREFLIGHT_MAX_AGE,
        send_wildcard=True,
    )
    if "*" not in settings.cors_origins:
        app.after_request(_vary_by_origin)


def _exactly(origin: str) -> str | re.Pattern[str]:
    """Have Flask-CORS match an origin as it stands: `[` or `*` in a string make it a pattern."""
    return origin if origin == "*" else re.compile(re.escape(origin) + r"\Z")


def _vary_by_origin(response: Response) -> Response:
    """Tell caches what Flask-CORS does not when a single origin is listed."""
    if request.path.startswith("/api/"):
        response.vary.add("Origin")
    return response
