"""A model that is loaded once, lives in worker processes of its own, and answers many at once.

    uvicorn examples.model_server:app        or          python examples/model_server.py [--port 8000]

    curl "localhost:8000/language?text=guten+Morgen"

Look at ``Model``: it is an ordinary class. Its constructor takes long and is run once for each replica; ``language`` is
written for a list of texts, and ``@batched`` lets everybody ask for one. What comes in while the model is busy is
answered together with the next call, which takes hardly longer for 32 texts than for one: the weights have to be read
from memory once, and not 32 times.

    python examples/model_server.py --load 5             what that makes of many clients, without a network between
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import hybridrt

LANGUAGES = ("Danish", "Dutch", "English", "French", "German", "Italian", "Spanish", "Swedish")
REPLICAS = int(os.environ.get("REPLICAS", "1"))
LONGEST = 5.0  # seconds for an answer
LAYERS, WIDTH = 3, 2048


class Model:
    """A network of the size of a real one; its weights are drawn by lot, so do not trust its answers."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed).standard_normal
        self.hidden = [draw((WIDTH, WIDTH), dtype=np.float32) / 32 for _ in range(LAYERS)]
        self.last = draw((WIDTH, len(LANGUAGES)), dtype=np.float32)

    @hybridrt.batched(max_size=32, max_delay=0.002)
    def language(self, texts: list[str]) -> list[str | Exception]:
        """The language of each text; an error in the place of one is raised to who has sent it, and to nobody else."""
        found = self.guess(texts)
        return [
            word if text else ValueError("a text is needed") for text, word in zip(texts, found, strict=True)
        ]

    def language_of_one(self, text: str) -> str:
        """The same without batches, to compare."""
        return self.guess([text])[0]

    def guess(self, texts: list[str]) -> list[str]:
        layer = np.stack([features(text) for text in texts])
        for weights in self.hidden:
            layer = np.tanh(layer @ weights)
        return [LANGUAGES[number] for number in (layer @ self.last).argmax(axis=1)]


def features(text: str) -> Any:
    """How often each pair of neighbours occurs in a text, roughly."""
    letters = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32)
    pairs = (letters[:-1] * 31 + letters[1:]) % WIDTH
    return np.bincount(pairs, minlength=WIDTH).astype(np.float32)


async def language(request: Request) -> Response:
    model: hybridrt.Actor[Model] = request.state.model
    text = request.query_params.get("text", "")
    try:
        return JSONResponse({"text": text, "language": await model.call(Model.language, text)})
    except ValueError as exc:
        raise HTTPException(400, str(exc)) from None
    except TimeoutError:
        raise HTTPException(503, "too many ask at the moment") from None


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    # With numpy preloaded the replicas share its memory. A replica that dies is built again; who was waiting for it
    # then is served by another one.
    async with hybridrt.Runtime(preload=("numpy",)) as rt:
        options = rt.options(replicas=REPLICAS, restart="on-crash", timeout=LONGEST)
        async with options.actor(Model, 1) as model:
            yield {"model": model}


app = Starlette(lifespan=lifespan, routes=[Route("/language", language)])


async def put_under_load(seconds: float, clients: int) -> None:
    """Many clients, each of which asks, waits for the answer and asks again."""
    async with (
        hybridrt.Runtime(preload=("numpy",)) as rt,
        rt.options(replicas=REPLICAS).actor(Model, 1) as model,
    ):
        print(f"{clients} clients, {REPLICAS} x the model")
        for name, ask in (("one at a time", model.language_of_one), ("batched", model.language)):
            answers, worst = await count_answers(ask, seconds, clients)
            print(f"{name}: {answers / seconds:.0f} answers/s, the slowest after {worst * 1e3:.0f} ms")


async def count_answers(
    ask: Callable[[str], Awaitable[str]], seconds: float, clients: int
) -> tuple[int, float]:
    answers, worst = 0, 0.0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal answers, worst
        while (began := time.perf_counter()) < end:
            await ask(f"text {answers} of client {number}")
            answers += 1
            worst = max(worst, time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    return answers, worst


# uvicorn, too, imports this file, and must not start another server then. (A worker does not mind: it never runs a
# script again.)
if Path(sys.argv[0]).resolve() == Path(__file__).resolve():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--load", type=float, metavar="SECONDS", help="put the model under load instead")
    parser.add_argument("--clients", type=int, default=128)
    options = parser.parse_args()
    if options.load:
        hybridrt.run(put_under_load, options.load, options.clients)
    else:
        uvicorn.run(app, port=options.port)
