"""What burns CPU and lets the GIL go, and what waits: it belongs in a thread, however long it takes."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import queue
import select
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from .case import RELEASER, WAITER, Cases
from .data import a_file, blob, folder

RELEASERS = Cases(RELEASER)
WAITERS = Cases(WAITER)
_C = "C code that lets the GIL go while it works"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests(data: bytes) -> list[str]:
    return [hashlib.new(name, data).hexdigest() for name in ("sha1", "sha512", "blake2b")]


def stretch(password: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, b"salt", rounds)


def packed_size(data: bytes) -> int:
    return len(zlib.compress(data, 6))


def packed_size_lzma(data: bytes) -> int:
    return len(lzma.compress(data, preset=1))


def packed_size_bz2(data: bytes) -> int:
    return len(bz2.compress(data))


def product_trace(one: Any, other: Any) -> float:
    return float(np.trace(one @ other))


def sort_array(values: Any) -> float:
    return float(np.sort(values)[len(values) // 2])


def waves(values: Any) -> float:
    return float(np.sqrt(np.sin(values) ** 2 + np.cos(values) ** 2).sum())


def spectrum(values: Any) -> float:
    return float(np.abs(np.fft.rfft(values)).max())


def thumbnail(width: int) -> tuple[int, int]:
    image = Image.linear_gradient("L").resize((width, width), Image.Resampling.BICUBIC)
    return image.resize((128, 128), Image.Resampling.LANCZOS).size


def blurred(width: int) -> Any:
    image = Image.linear_gradient("L").resize((width, width), Image.Resampling.BILINEAR)
    return image.filter(ImageFilter.GaussianBlur(8)).getpixel((0, 0))


def query(rows: int) -> float:
    with sqlite3.connect(":memory:") as connection:
        sql = (
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?) "
            "select sum(i * i % 7) from n"
        )
        (total,) = connection.execute(sql, (rows,)).fetchone()
    connection.close()
    return float(total)


@cache
def a_database(rows: int) -> str:
    """The path of a database with one table."""
    path = folder() / f"{rows}.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table sales (id integer primary key, kind text, price real)")
        connection.executemany(
            "insert into sales values (?, ?, ?)", ((i, f"kind {i % 100}", i % 997 / 7) for i in range(rows))
        )
    connection.close()
    return str(path)


@cache
def echo_port() -> int:
    """The port of a server in this process that answers after 2 ms."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                data = connection.recv(64)
                time.sleep(0.002)
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True, name="echo").start()
    return int(server.getsockname()[1])


def read_in_blocks(path: str) -> int:
    buffer, size = bytearray(1 << 20), 0
    with open(path, "rb", buffering=0) as file:
        while read := file.readinto(buffer):
            size += read
    return size


def digest_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(path: str) -> int:
    target = f"{path}.{os.getpid()}.{threading.get_ident()}"
    shutil.copyfile(path, target)
    size = os.stat(target).st_size
    os.unlink(target)
    return size


def write_durably(path: str, data: bytes) -> int:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return len(data)


def report(path: str) -> list[tuple[str, float]]:
    connection = sqlite3.connect(path)
    try:
        sql = "select kind, sum(price) from sales group by kind order by 2 desc limit 5"
        return list(connection.execute(sql))
    finally:
        connection.close()


def ask(port: int, question: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(question)
        return connection.recv(64)


def nothing_comes(seconds: float) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        waiting.bind(("127.0.0.1", 0))
        return not select.select([waiting], [], [], seconds)[0]


def datagram(size: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        here.settimeout(0.003)
        try:
            return len(here.recv(size))
        except TimeoutError:
            return 0


def echo(text: str) -> bytes:
    return subprocess.run(["/bin/echo", text], capture_output=True, check=True).stdout


def slow_program(seconds: float) -> int:
    return subprocess.run(["/bin/sleep", str(seconds)], check=True).returncode


def piped(data: bytes) -> int:
    return len(subprocess.run(["/bin/cat"], input=data, capture_output=True, check=True).stdout)


def empty_queue(seconds: float) -> bool:
    try:
        queue.Queue[int]().get(timeout=seconds)
    except queue.Empty:
        return True
    return False


def poll(times: int) -> int:
    for _ in range(times):
        time.sleep(0.001)
    return times


def _array(*shape: int) -> Any:
    return _arrays(shape)


@cache
def _arrays(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(1).random(shape)


_add = RELEASERS.add
_add("sha256 of 4 MB", digest, lambda: (blob(4 << 20),), _C)
_add("sha256 of a file of 1 MB", digest_of_file, lambda: (a_file(1 << 20),), _C)
_add("three digests of 1 MB", digests, lambda: (blob(1 << 20),), _C)
_add("pbkdf2", stretch, lambda: (b"secret", 20_000), _C)
_add("zlib of 500 kB", packed_size, lambda: (blob(500_000),), _C)
_add("lzma of 300 kB", packed_size_lzma, lambda: (blob(300_000),), _C)
_add("bz2 of 300 kB", packed_size_bz2, lambda: (blob(300_000),), _C)
_add("numpy: matrix product", product_trace, lambda: (_array(300, 300), _array(300, 300)), _C)
_add("numpy: sort", sort_array, lambda: (_array(300_000),), _C)
_add("numpy: elementwise", waves, lambda: (_array(500_000),), _C)
_add("numpy: FFT", spectrum, lambda: (_array(1 << 19),), _C)
_add("Pillow: resize", thumbnail, lambda: (1500,), _C)
_add("Pillow: blur", blurred, lambda: (1000,), _C)
_add("sqlite3: a long query", query, lambda: (100_000,), _C)

_add = WAITERS.add
_add("time.sleep, 5 ms", time.sleep, lambda: (0.005,), "sleeps")
_add("polling", poll, lambda: (8,), "sleeps again and again")
_add("a file of 8 MB read", read_in_blocks, lambda: (a_file(8 << 20),), "reads in the kernel")
_add("a file copied", copy, lambda: (a_file(4 << 20),), "copies in the kernel")
_add("a file synced", write_durably, lambda: (str(folder() / "synced"), blob(50_000)), "waits for the disk")
_add("sqlite3: a report from a file", report, lambda: (a_database(60_000),), "reads, and lets the GIL go")
_add("a question over TCP", ask, lambda: (echo_port(), b"question"), "waits for a socket")
_add("select on a socket, 4 ms", nothing_comes, lambda: (0.004,), "waits for a socket")
_add("a datagram that never comes", datagram, lambda: (64,), "waits for a socket")
_add("a subprocess", echo, lambda: ("text",), "waits for a process")
_add("a subprocess of 30 ms", slow_program, lambda: (0.03,), "waits for a process")
_add("a subprocess fed by pipe", piped, lambda: (blob(200_000),), "waits for a process")
_add("an empty queue, 6 ms", empty_queue, lambda: (0.006,), "waits for a lock")
