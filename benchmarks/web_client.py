"""The web measurement's client: requests at a fixed rate, each timed from the moment at which it was due.

A server that stalls gets its requests late from a client that waits for answers, and looks better than it is; so here
each request has its place in time beforehand, and a late one counts with its wait.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from time import perf_counter, sleep

RATE = 100
"""Requests in a second."""
_CONNECTIONS = 20
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_END = b"\r\n\r\nok"


def main() -> None:
    """``port count`` from the command line; seconds as JSON on stdout."""
    port, count = map(int, sys.argv[1:])
    # The interpreter's own switching between threads is not to be seen in the answers.
    sys.setswitchinterval(0.0005)
    seconds: list[float] = []
    start = perf_counter() + 0.1
    threads = [
        threading.Thread(target=_ask, args=(port, first, count, start, seconds))
        for first in range(min(_CONNECTIONS, count))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) != count:
        raise SystemExit(f"{count - len(seconds)} of {count} requests were not answered")
    seconds.sort()
    print(json.dumps({"p50": seconds[count // 2], "p99": seconds[min(int(count * 0.99), count - 1)]}))


def _ask(port: int, first: int, count: int, start: float, seconds: list[float]) -> None:
    """Every ``_CONNECTIONS``-th request, over one connection that is kept."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(first, count, _CONNECTIONS):
            due = start + number / RATE
            sleep(max(due - perf_counter(), 0.0))
            connection.sendall(_REQUEST)
            answer = b""
            while not answer.endswith(_END):
                data = connection.recv(4096)
                if not data:
                    return
                answer += data
            seconds.append(perf_counter() - due)
