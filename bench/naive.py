"""The naive blueprint that Holdall is measured against: what a tutorial would have you write.

`put_raw` is the second door that a careful tutorial adds. Nothing here may be made clever.
"""

import os

from flask import Flask, Response, request, send_from_directory
from werkzeug.utils import secure_filename

FOLDER = os.environ["NAIVE_FOLDER"]
PIECE = 64 * 1024

app = Flask(__name__)


@app.post("/upload")
def upload() -> tuple[dict[str, str], int]:
    """Store the form's `file`."""
    file = request.files["file"]
    name = secure_filename(file.filename or "unnamed")
    file.save(os.path.join(FOLDER, name))
    return {"url": f"/files/{name}"}, 201


@app.put("/raw/<name>")
def put_raw(name: str) -> tuple[dict[str, str], int]:
    """Store the body."""
    with open(os.path.join(FOLDER, secure_filename(name)), "wb") as file:
        while piece := request.stream.read(PIECE):
            file.write(piece)
    return {"url": f"/files/{name}"}, 201


@app.get("/files/<name>")
def download(name: str) -> Response:
    """Serve a stored file."""
    return send_from_directory(FOLDER, name)
