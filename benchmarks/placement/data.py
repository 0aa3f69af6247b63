"""What the labelled functions are given: made up, the same in every run, and made once."""

from __future__ import annotations

import inspect
import json
import random
import tempfile
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

_KINDS = ("fruit", "bread", "cheese", "tea")


@cache
def words(count: int, seed: int = 0) -> list[str]:
    """Short words of few letters."""
    chance = random.Random(seed)
    return ["".join(chance.choices("aeiourstln", k=chance.randint(2, 9))) for _ in range(count)]


@cache
def a_text(length: int, seed: int = 0) -> str:
    """Words in paragraphs, some of them **bold**, with headings."""
    chance = random.Random(seed)
    parts: list[str] = []
    size = 0
    for number, word in enumerate(words(length // 5 + 9, seed)):
        part = f"**{word}** " if number % 17 == 0 else f"{word} "
        if number % 60 == 59:
            part += "\n\n" + "# " * chance.randint(0, 1)
        parts.append(part)
        size += len(part)
        if size >= length:
            break
    return "".join(parts)[:length]


@cache
def integers(count: int, most: int) -> list[int]:
    """From 1 to ``most``."""
    chance = random.Random(count)
    return [chance.randint(1, most) for _ in range(count)]


@cache
def matrix(size: int) -> list[list[float]]:
    """Square."""
    chance = random.Random(size)
    return [[chance.random() for _ in range(size)] for _ in range(size)]


@cache
def a_grid(size: int) -> list[list[int]]:
    """Square, of digits."""
    chance = random.Random(size)
    return [[chance.randint(1, 9) for _ in range(size)] for _ in range(size)]


@cache
def records(count: int) -> list[dict[str, Any]]:
    """As an interface would send them."""
    chance = random.Random(count)
    return [
        {
            "id": number,
            "name": name,
            "kind": chance.choice(_KINDS),
            "price": round(chance.uniform(1, 99), 2),
            "amount": chance.randint(1, 9),
            "tags": [name[:2], name[-2:]],
        }
        for number, name in enumerate(words(count, count))
    ]


@cache
def json_text(count: int) -> str:
    """``records`` as text."""
    return json.dumps(records(count))


@cache
def csv_text(count: int, skip: int = 0) -> str:
    """``records`` as text; with ``skip``, each such row is missing."""
    rows = ["id,name,kind,price,amount"]
    rows += [
        f"{r['id']},{r['name']},{r['kind']},{r['price']},{r['amount']}"
        for r in records(count)
        if not skip or r["id"] % skip
    ]
    return "\n".join(rows)


@cache
def xml_text(count: int) -> str:
    """``records`` as elements with links, which are HTML as well."""
    items = "".join(
        f'<li class="{r["kind"]}"><a href="/{r["id"]}">{r["name"]}</a> <b>{r["price"]}</b></li>'
        for r in records(count)
    )
    return f"<ul>{items}</ul>"


@cache
def a_source() -> str:
    """Python source, of the standard library."""
    return inspect.getsource(textwrap)


@cache
def blob(size: int) -> bytes:
    """Bytes that compress to about half."""
    chance = random.Random(size)
    block = bytes(chance.choices(range(64), k=min(size, 1 << 16)))
    return (block * (size // len(block) + 1))[:size]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="placement-")


def folder() -> Path:
    """For the files of this run: away with the process, or with ``clear``."""
    return Path(_folder().name)


def clear() -> None:
    """Away with the files made."""
    _folder().cleanup()


@cache
def a_file(size: int) -> str:
    """The path of a file of ``size`` bytes."""
    path = folder() / f"{size}.bin"
    path.write_bytes(blob(size))
    return str(path)


@cache
def a_file_of_numbers(count: int) -> str:
    """The path of a text file with a number in each line."""
    path = folder() / f"{count}.txt"
    path.write_text("\n".join(map(str, range(count))))
    return str(path)
