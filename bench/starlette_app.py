"""The Starlette app that Holdall is measured beside: what a tutorial would have you write.

Nothing in it may be made clever.
"""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

FOLDER = Path(os.environ["STARLETTE_FOLDER"])
PIECE = 64 * 1024


async def upload(request: Request) -> Response:
    """Store the form's `file`."""
    async with request.form() as form:
        file = form["file"]
        if not isinstance(file, UploadFile) or not file.filename:
            return JSONResponse({"error": "no file"}, 400)
        name = Path(file.filename).name
        with open(FOLDER / name, "wb") as stored:
            while piece := await file.read(PIECE):
                await run_in_threadpool(stored.write, piece)
    return JSONResponse({"url": f"/files/{name}"}, 201)


async def put_raw(request: Request) -> Response:
    """Store the body."""
    name = Path(request.path_params["name"]).name
    with open(FOLDER / name, "wb") as stored:
        async for piece in request.stream():
            await run_in_threadpool(stored.write, piece)
    return JSONResponse({"url": f"/files/{name}"}, 201)


async def download(request: Request) -> Response:
    """Serve a stored file."""
    file = FOLDER / Path(request.path_params["name"]).name
    if not file.is_file():
        return JSONResponse({"error": "no such file"}, 404)
    return FileResponse(file)


app = Starlette(
    routes=[
        Route("/upload", upload, methods=["POST"]),
        Route("/raw/{name}", put_raw, methods=["PUT"]),
        Route("/files/{name}", download),
    ]
)
