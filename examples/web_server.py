"""Documents are uploaded, taken apart in a process, and stored through a thread, while ``/ping`` stays quick.

    uvicorn examples.web_server:app          or          python examples/web_server.py [--port 8000]

    curl -F file=@README.md localhost:8000/documents
    curl localhost:8000/documents/README.md
    curl localhost:8000/ping                             quick, also while documents are being worked on
    curl localhost:8000/stats

Look at ``lifespan``, which is all that the runtime asks for, and at ``upload``, which needs a process and two threads
and reads like plain code. No call may take longer than LONGEST seconds: then the client is told, the work is stopped,
and so the server never waits longer than that when it is asked to stop. The environment variable DOCUMENTS names the
folder to keep documents in; without it they are thrown away at the end.
"""

import argparse
import dataclasses
import hashlib
import lzma
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import hybridrt

MOST_BYTES = 16 << 20
LONGEST = float(os.environ.get("LONGEST", "8"))
NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)  # neither a path nor hidden


def take_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What is in a document, and the document compressed. CPU-heavy, and nothing in it knows of the event loop."""
    words = Counter(re.findall(r"\w+", data.decode(errors="replace").lower()))
    packed = lzma.compress(data)
    report = {
        "bytes": len(data),
        "compressed": len(packed),
        "sha256": hashlib.sha256(data).hexdigest(),
        "words": words.total(),
        "most_frequent": words.most_common(10),
    }
    return report, packed


async def upload(request: Request) -> Response:
    name, data = await receive(request)
    rt = hybridrt.current_runtime()
    try:
        report, packed = await rt.options(timeout=LONGEST).to_process(take_apart, data)
    except TimeoutError:
        raise HTTPException(503, f"this document takes longer than {LONGEST:g} s") from None
    await store(request.state.folder / f"{name}.xz", packed)
    await store(request.state.folder / f"{name}.json", JSONResponse(report).body)
    return JSONResponse(report, 201, {"Location": f"/documents/{name}"})


async def receive(request: Request) -> tuple[str, bytes]:
    """Name and content of the uploaded file, both fit to be used."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise HTTPException(411, "say how long the document is")
    if int(length) > MOST_BYTES:
        raise HTTPException(413, f"a document has at most {MOST_BYTES} bytes")
    async with request.form(max_files=1, max_fields=0) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "send the document as the file 'file' of a form (multipart/form-data)")
        data = await file.read()
    if not data:
        raise HTTPException(400, "the document is empty")
    return checked(file.filename or ""), data


async def store(path: Path, data: bytes | memoryview) -> None:
    """Write a file as a whole: who reads meanwhile finds the former one or none."""
    part = path.with_name(f".{uuid4()}")
    rt = hybridrt.current_runtime()
    async with rt.open(part, "wb") as file:
        await file.write(bytes(data))
    await rt.to_thread(part.replace, path)


def checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise HTTPException(
            400, "a name is up to 100 letters, digits, '_', '.' and '-', and begins with none of the last two"
        )
    return name


async def show(request: Request) -> Response:
    path = request.state.folder / f"{checked(request.path_params['name'])}.json"
    try:
        async with hybridrt.current_runtime().open(path, "rb") as file:
            return Response(await file.read(), media_type="application/json")
    except FileNotFoundError:
        raise HTTPException(404, "there is no such document") from None


async def ping(request: Request) -> Response:
    return PlainTextResponse("pong")


async def stats(request: Request) -> Response:
    return JSONResponse(dataclasses.asdict(hybridrt.current_runtime().stats()))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory() as thrown_away:
        # With this file preloaded the workers share the memory of what it imports. Neither that nor the warm-up is
        # needed, but the first visitors are spared the wait for it.
        async with hybridrt.Runtime(preload=(__name__,)) as rt:
            await rt.warm_up()
            yield {"folder": Path(os.environ.get("DOCUMENTS", thrown_away))}


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/documents", upload, methods=["POST"]),
        Route("/documents/{name}", show),
        Route("/ping", ping),
        Route("/stats", stats),
    ],
)

# uvicorn, too, imports this file, and must not start another server then. (A worker does not mind: it never runs a
# script again.)
if Path(sys.argv[0]).resolve() == Path(__file__).resolve():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, port=parser.parse_args().port)
