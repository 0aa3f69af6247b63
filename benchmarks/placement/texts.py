"""Texts: parsers and searches that deny the GIL to others, with plain data in and out. They belong in a process."""

from __future__ import annotations

import ast
import csv
import difflib
import html.parser
import io
import json
import re
import string
import textwrap
import tokenize
from collections import Counter
from typing import Any
from xml.etree import ElementTree

from .case import HOLDER, Cases
from .data import a_source, a_text, csv_text, json_text, records, words, xml_text
from .holders import hash_of

CASES = Cases(HOLDER)
_PURE = "a Python loop over plain data; changes nothing but what it makes"
_IN_C = "C code that keeps the GIL, over plain data"

# A constant: patterns cannot be changed.
_INLINE = re.compile(r"\*\*(.+?)\*\*|_(.+?)_|`(.+?)`")


def rank_words(text: str, most: int) -> list[tuple[str, int]]:
    counts = Counter(re.findall(r"\w+", text.lower()))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def anagrams(words: list[str]) -> int:
    groups: dict[str, set[str]] = {}
    for word in words:
        groups.setdefault("".join(sorted(word)), set()).add(word)
    return max(map(len, groups.values()))


def total_of_json(text: str) -> float:
    records: list[dict[str, Any]] = json.loads(text)
    return sum(float(record["price"]) * int(record["amount"]) for record in records)


def size_as_json(records: list[dict[str, Any]]) -> int:
    return len(json.dumps(records, indent=1, sort_keys=True))


def count_nodes(source: str) -> int:
    return sum(1 for _ in ast.walk(ast.parse(source)))


def count_tokens(source: str) -> int:
    return sum(1 for _ in tokenize.generate_tokens(io.StringIO(source).readline))


def similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def count_changes(one: str, other: str) -> int:
    lines = difflib.unified_diff(one.splitlines(), other.splitlines(), lineterm="")
    return sum(line.startswith(("+", "-")) for line in lines)


def wrap(text: str, width: int) -> int:
    return len(textwrap.wrap(text, width))


def totals_of_csv(text: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(text)):
        totals[row["kind"]] = totals.get(row["kind"], 0.0) + float(row["price"]) * int(row["amount"])
    return totals


def write_csv(rows: int) -> int:
    out = io.StringIO()
    writer = csv.writer(out)
    for number in range(rows):
        writer.writerow([number, number * number, f"row {number}", number / 7])
    return len(out.getvalue())


def depth_of_xml(text: str) -> int:
    def depth(element: ElementTree.Element) -> int:
        return 1 + max(map(depth, element), default=0)

    return depth(ElementTree.fromstring(text))  # noqa: S314  # its own


def backtrack(length: int) -> bool:
    return re.match(r"(a+)+$", "a" * length + "b") is not None


def render_markdown(text: str) -> int:
    html = []
    for block in text.split("\n\n"):
        inner = _INLINE.sub(lambda m: f"<b>{m[1] or m[2] or m[3]}</b>", block)
        html.append(f"<p>{inner}</p>" if not block.startswith("#") else f"<h1>{inner[1:].strip()}</h1>")
    return len("\n".join(html))


def caesar(text: str, shift: int) -> int:
    out = ""
    for char in text:
        if char in string.ascii_lowercase:
            char = string.ascii_lowercase[(string.ascii_lowercase.index(char) + shift) % 26]
        out += char
    return hash_of(out)


def compress_lzw(text: str) -> int:
    codes = {chr(n): n for n in range(256)}
    out, prefix = [], ""
    for char in text:
        if prefix + char in codes:
            prefix += char
        else:
            out.append(codes[prefix])
            codes[prefix + char] = len(codes)
            prefix = char
    return len(out)


def evaluate(expression: str) -> int:
    tokens = re.findall(r"\d+|[-+*()]", expression)

    def atom(at: int) -> tuple[int, int]:
        if tokens[at] == "(":
            value, at = sums(at + 1)
            return value, at + 1
        return int(tokens[at]), at + 1

    def product(at: int) -> tuple[int, int]:
        value, at = atom(at)
        while at < len(tokens) and tokens[at] == "*":
            factor, at = atom(at + 1)
            value = value * factor % 1_000_003
        return value, at

    def sums(at: int) -> tuple[int, int]:
        value, at = product(at)
        while at < len(tokens) and tokens[at] in "+-":
            sign = 1 if tokens[at] == "+" else -1
            term, at = product(at + 1)
            value += sign * term
        return value, at

    return sums(0)[0]


def sort_words(text: str) -> str:
    ordered = sorted(text.split(), key=lambda word: (word[::-1], len(word)))
    return ordered[len(ordered) // 2]


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += tag == "a"


def count_links(page: str) -> int:
    parser = _Links()
    parser.feed(page)
    return parser.links


def _expression() -> str:
    return "+".join(f"({n}*{n + 1}-({n}+3)*2)" for n in range(800))


_add = CASES.add
_add("word ranks (re, Counter)", rank_words, lambda: (a_text(60_000), 20), _PURE)
_add("anagrams", anagrams, lambda: (words(4_000),), _PURE)
_add("json.loads and a sum", total_of_json, lambda: (json_text(1_500),), _IN_C)
_add("json.dumps, indented", size_as_json, lambda: (records(300),), _PURE)
_add("ast.parse and walk", count_nodes, lambda: (a_source(),), _IN_C)
_add("tokenize", count_tokens, lambda: (a_source(),), _PURE)
_add("difflib ratio", similarity, lambda: (a_text(400), a_text(400, 1)), _PURE)
_add("unified diff", count_changes, lambda: (csv_text(300), csv_text(300, 7)), _PURE)
_add("textwrap", wrap, lambda: (a_text(30_000), 72), _PURE)
_add("csv totals", totals_of_csv, lambda: (csv_text(1_500),), _PURE)
_add("csv written", write_csv, lambda: (2_000,), _PURE)
_add("XML depth", depth_of_xml, lambda: (xml_text(1_500),), _IN_C)
_add("regular expression that backtracks", backtrack, lambda: (20,), _IN_C)
_add("markdown by re.sub", render_markdown, lambda: (a_text(200_000),), _PURE)
_add("caesar cipher", caesar, lambda: (a_text(8_000), 3), _PURE)
_add("LZW", compress_lzw, lambda: (a_text(20_000),), _PURE)
_add("arithmetic parser", evaluate, lambda: (_expression(),), _PURE)
_add("sort by key", sort_words, lambda: (a_text(30_000),), _PURE)
_add("links in HTML", count_links, lambda: (xml_text(400),), _PURE)
