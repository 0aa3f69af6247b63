"""What is done with each file: parsed, measured, compressed. Its result depends on nothing but name and bytes."""

from __future__ import annotations

import ast
import warnings
import zlib
from collections import Counter
from typing import NamedTuple

MOST_PARSED = 2_000_000  # bytes; a syntax tree takes about a hundred times the memory of its text
_SOURCE = "<hybridrt demo>"
_SUFFIXES = (".py", ".pyi", ".pyw")
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_DECISIONS = (*_LOOPS, ast.If, ast.IfExp, ast.BoolOp, ast.ExceptHandler, ast.Assert, ast.match_case)

# The parser warns about other people's escapes and literals. Only those: where is told by the name given to it.
warnings.filterwarnings("ignore", module=_SOURCE)


class Facts(NamedTuple):
    """What one file came to.

    ``kind``         "python", "not parseable" (Python by its name, but not to this parser) or "other"
    ``decisions``    places where the control flow divides, in the manner of McCabe's complexity
    ``compressed``   bytes that are left of ``size``
    ``checksum``     of the compressed bytes
    """

    kind: str
    size: int
    lines: int
    functions: int
    classes: int
    decisions: int
    compressed: int
    checksum: int


def analyse(name: str, data: bytes) -> Facts:
    """Parse, measure and compress; never raises for what the bytes are."""
    nodes: Counter[type] = Counter()
    kind = "other"
    if name.endswith(_SUFFIXES):
        try:
            if len(data) <= MOST_PARSED:
                nodes.update(map(type, ast.walk(ast.parse(data, _SOURCE))))
                kind = "python"
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            kind = "not parseable"
    compressed = zlib.compress(data, 9)
    return Facts(
        kind=kind,
        size=len(data),
        lines=data.count(b"\n"),
        functions=nodes[ast.FunctionDef] + nodes[ast.AsyncFunctionDef] + nodes[ast.Lambda],
        classes=nodes[ast.ClassDef],
        decisions=sum(nodes[kind] for kind in _DECISIONS),
        compressed=len(compressed),
        checksum=zlib.crc32(compressed),
    )
