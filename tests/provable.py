"""Functions for tests/test_proof.py: each says what the proof has to say of it."""

from __future__ import annotations

import ast
import bisect
import colorsys
import contextvars
import copy
import csv
import datetime
import functools
import hashlib
import heapq
import io
import itertools
import json
import math
import operator
import os
import random
import re
import statistics
import struct
import sys
import threading
import time
import tokenize
import zlib
from collections import ChainMap, Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

WORD = re.compile(r"\w+")
LIMIT = 3
NAMES = ("a", "b")
FACTOR: float = 2.5
SOURCE = Path("data") / "in.csv"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
STARTED = time.time()
DIGITS = frozenset("0123456789")
ORDER = tuple({"a", "b"})
CACHE: dict[Any, Any] = {}
TOTAL = 0
SWITCHED = 1
SWITCHED = 2
PRICE = Decimal("1.5")
LOCK = threading.Lock()
CONTEXT: contextvars.ContextVar[int] = contextvars.ContextVar("CONTEXT", default=1)
if sys.platform == "never":
    MAYBE = 1
else:
    MAYBE = 2

expected: dict[str, tuple[Callable[..., Any], Any]] = {}


def says(what: object) -> Callable[[Any], Any]:
    """Label a function: 0, 1 or 2 is what must be immutable where it is movable; a text is in the refusal."""

    def label(fn: Any) -> Any:
        expected[f"{len(expected)}-{getattr(fn, '__name__', type(fn).__name__)}"] = (fn, what)
        return fn

    return label


FRESH, DEEP, PARTS = 0, 1, 2

# --- it changes nothing and gives back something new ---


@says(FRESH)
def primes(n: int) -> list[int]:
    sieve = [True] * (n + 1)
    for i in range(2, int(n**0.5) + 1):
        if sieve[i]:
            for j in range(i * i, n + 1, i):
                sieve[j] = False
    return [i for i in range(2, n + 1) if sieve[i]]


@says(FRESH)
def word_counts(text: str) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for word in WORD.findall(text):
        counts[word.lower()] = counts.get(word.lower(), 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


@says(FRESH)
def matrix_product(a: Any, b: Any) -> Any:
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a
    ]


@says(FRESH)
def revenue(rows: Any) -> Any:
    total = 0
    for row in rows:
        total += row["price"] * row["count"]
    return total


@says(FRESH)
def digest(data: bytes) -> str:
    return hashlib.sha256(zlib.compress(data)).hexdigest()


@says(FRESH)
def round_trip(value: Any) -> Any:
    return json.loads(json.dumps(value, sort_keys=True))


@says(FRESH)
def mean_and_spread(values: Any) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "spread": statistics.pstdev(values)}


@says(FRESH)
def collatz(n: int) -> int:
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else n // 1 * 3 - -1
        steps += 1
    return steps


@says(FRESH)
def is_even(n: int) -> bool:
    return True if n == 0 else is_odd(n - 1)


@says(FRESH)
def is_odd(n: int) -> bool:
    return False if n == 0 else is_even(n - 1)


@says(FRESH)
def lines_long(text: str) -> int:
    return len([line for line in text.splitlines() if len(line) > LIMIT])


@says(FRESH)
def deep_copy_changed(rows: Any) -> Any:
    mine = copy.deepcopy(rows)
    for row in mine:
        row["seen"] = True
    return mine


@says(FRESH)
def unpacked(data: bytes) -> Any:
    return struct.unpack("<II", data[:8])


@says(FRESH)
def fraction_sum(n: int) -> str:
    return str(sum(Fraction(1, i) for i in range(1, n)))


@says(FRESH)
def uses_constants(x: float) -> str:
    return f"{x * FACTOR:.2f} {SOURCE} {EPOCH.year} {len(DIGITS)} {math.pi} {NAMES[0]}"


@says(FRESH)
def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return time.monotonic() - seconds


@says(FRESH)
def raises(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise RuntimeError(f"no number: {len(text)}") from error


@says(FRESH)
def with_inner(text: str) -> int:
    count = 0

    def note(word: str) -> None:
        nonlocal count
        count += len(word)

    for word in text.split():
        note(word)
    return count


@says(FRESH)
def through_helper(n: int) -> list[str]:
    out: list[str] = []
    for i in range(n):
        _push(out, str(i))
    return out


def _push(box: list[Any], item: Any) -> None:
    box.append(item)


@says(FRESH)
def squares(n: int) -> list[int]:
    return list(_squares(n))


def _squares(n: int) -> Iterator[int]:
    for i in range(n):
        yield i * i


@says(FRESH)
def shape_of(shape: Any) -> str:
    match shape:
        case {"kind": "circle", "r": r}:
            return f"circle {r}"
        case [x, y, *rest]:
            return f"point {x} {y} {len(rest)}"
        case _:
            return "unknown"


@says(FRESH)
def local_import(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


@says(FRESH)
def with_defaults(n: int, *, step: int = 2, names: tuple[str, ...] = ("x",)) -> int:
    return len(range(0, n, step)) + len(names)


@says(FRESH)
def heap_of_lengths(words: Any) -> list[int]:
    heap: list[int] = []
    for word in words:
        heapq.heappush(heap, len(word))
    return [heapq.heappop(heap) for _ in range(len(heap))]


@says(FRESH)
def substituted(text: str) -> str:
    return WORD.sub(lambda found: found.group().upper(), text)


@says(FRESH)
def dispatched(name: str, a: float, b: float) -> str:
    table = {"add": operator.add, "mul": lambda x, y: x * y}
    return str(table[name](a, b))


@says(FRESH)
def os_path(text: str) -> str:
    return os.path.splitext(os.path.basename(text))[1]


@says(FRESH)
def library_python(r: float, g: float, b: float) -> str:
    return str(colorsys.rgb_to_hsv(r, g, b))


# --- it may give back parts of its arguments ---


@says(PARTS)
def filtered(items: Any) -> Any:
    return [item for item in items if item]


@says(PARTS)
def sorted_rows(rows: Any) -> Any:
    return sorted(rows, key=operator.itemgetter("id"))


@says(PARTS)
def largest(items: Any) -> Any:
    return max(items)


@says(PARTS)
def grouped(rows: Any) -> Any:
    groups: Any = {}
    for row in rows:
        groups.setdefault(row["kind"], []).append(row)
    return groups


@says(PARTS)
def grouped_by_default(rows: Any) -> Any:
    groups = defaultdict(list)
    for row in rows:
        groups[row["kind"]].append(row)
    return dict(groups)


@says(PARTS)
def through_alias_of_container(rows: Any) -> Any:
    out: Any = [[]]
    inner = out[0]
    inner.append(rows[0])
    return out


@says(PARTS)
def with_bound_append(rows: Any) -> Any:
    out: Any = []
    add = out.append
    for row in rows:
        add(row)
    return out


@says(PARTS)
def head(rows: Any) -> Any:
    return rows[:10]


@says(PARTS)
def merged(a: Any, b: Any) -> Any:
    return {**a, **b}


@says(PARTS)
def last_of_queue(items: Any) -> Any:
    return deque(items).pop()


@says(PARTS)
def raised_part(rows: Any) -> None:
    raise ValueError(rows[0])


# --- it changes a part of an argument ---


@says(PARTS)
def marks_rows(rows: Any) -> None:
    for row in rows:
        row["seen"] = True


@says(PARTS)
def changes_nested(data: Any) -> int:
    data["a"]["b"].append(1)
    return len(data)


@says(PARTS)
def changes_in_comprehension(rows: Any) -> int:
    return len([row.pop() for row in rows])


@says(PARTS)
def changes_by_unpacking(rows: Any) -> None:
    one, *others = rows
    others[0].clear()
    one += [1]


# --- it gives back, or changes, an argument itself ---


@says(DEEP)
def identity(x: Any) -> Any:
    return x


@says(DEEP)
def aliased_sort(rows: Any) -> int:
    a = rows
    a.sort()
    return len(a)


@says(DEEP)
def adds_in_place(rows: Any, more: Any) -> int:
    rows += more
    return len(rows)


@says(DEEP)
def through_push(rows: Any) -> int:
    _push(rows, 1)
    return 1


@says(DEEP)
def heapifies(items: Any) -> int:
    heapq.heapify(items)
    return len(items)


@says(DEEP)
def insorts(items: Any) -> int:
    bisect.insort(items, 1)
    return 1


@says(DEEP)
def sets_by_operator(items: Any) -> None:
    operator.setitem(items, 0, 1)


@says(DEEP)
def unbound_append(items: Any) -> None:
    list.append(items, 1)


@says(DEEP)
def appends_by_map(items: Any) -> int:
    return len(list(map(items.append, [1, 2])))


@says(DEEP)
def pair(a: Any, b: Any) -> Any:
    return a, b


@says(DEEP)
def choice(a: Any, b: Any) -> Any:
    return a or b


@says(DEEP)
def deletes(items: Any) -> None:
    del items[0]


@says(DEEP)
def slices(items: Any) -> None:
    items[1:] = [0]


@says(DEEP)
def loop_target(items: Any) -> None:
    for items[0] in range(3):
        pass


@says(DEEP)
def by_keyword_only(*args: Any, **kwargs: Any) -> int:
    kwargs["rows"].append(1)
    return len(args)


@says(DEEP)
def by_partial(items: Any) -> int:
    functools.partial(_push, items)(1)
    return 1


@says(DEEP)
def by_walrus(items: Any) -> int:
    (mine := items).append(1)
    return len(mine)


@says(DEEP)
def sum_of_lists(rows: Any) -> Any:
    return sum(*[rows, []])


@says(DEEP)
def default_out_of_a_tuple(key: Any, item: Any) -> Any:
    found: Any = {}
    return found.get(*(key, item))


@says(DEEP)
def gives_the_start_of_a_sum(a: Any, b: Any) -> Any:
    return sum(a, b)


@says(DEEP)
def gives_a_filling(a: Any, b: Any) -> Any:
    return list(itertools.zip_longest(a, [1], fillvalue=b))


@says(DEEP)
def gives_an_initial(a: Any, b: Any) -> Any:
    return list(itertools.accumulate(a, operator.sub, initial=b))


@says(DEEP)
def gives_a_default_of_groups(text: str, default: Any) -> Any:
    found = WORD.match(text)
    return found.groups(default) if found else None


@says(DEEP)
def gives_a_part_of_a_slice(a: Any) -> Any:
    return slice(None, a).stop


@says("ChainMap")
def through_chain_map(d: Any) -> None:
    ChainMap(d)["x"] = 1


@says("cannot be sent")
def raises_iterator(items: Any) -> None:
    raise ValueError(iter(items))


# --- state that stays here ---


@says("it reads the module's variable CACHE, which can change")
def memoised(n: int) -> int:
    if n not in CACHE:
        CACHE[n] = n * n
    return len(str(CACHE[n]))


@says("it reads the module's variable TOTAL, which can change")
def counts_calls(n: int) -> int:
    global TOTAL
    TOTAL += n
    return n


@says("it changes a variable that is not its own, TOTAL (line")
def sets_global(n: int) -> int:
    global TOTAL
    TOTAL = n
    return 1


@says("it reads the module's variable TOTAL, which can change")
def reads_counter(n: int) -> int:
    return TOTAL + n


@says("SWITCHED")
def reads_rebound(n: int) -> int:
    return SWITCHED + n


@says("MAYBE")
def reads_conditional(n: int) -> int:
    return MAYBE + n


@says("STARTED")
def reads_start(n: int) -> float:
    return STARTED + n


@says("ORDER")
def reads_order(n: int) -> str:
    return ORDER[n]


@says("PRICE")
def reads_decimal(n: int) -> Any:
    return PRICE * n


@says("LOCK")
def locks(n: int) -> int:
    with LOCK:
        return n + 1


@says("CONTEXT")
def reads_context(n: int) -> int:
    return CONTEXT.get() + n


@says("its parameter seen")
def mutable_default(n: int, seen: list[int] = []) -> int:  # noqa: B006 - that is the case
    seen.append(n)
    return len(seen)


@says("function")
def attribute_counter(n: int) -> int:
    attribute_counter.calls += 1  # type: ignore[attr-defined]
    return n


attribute_counter.calls = 0  # type: ignore[attr-defined]


@says("open()")
def reads_file(path: str) -> str:
    with open(path) as file:
        return file.read()


@says("read_text")
def reads_path(path: Path) -> str:
    return path.read_text()


@says("replace")
def renames(path: Any, target: Any) -> None:
    path.replace(target)


@says("print()")
def prints(x: Any) -> None:
    print(x)


@says("random")
def draws(n: int) -> float:
    return random.random() * n


@says("shuffle")
def shuffles(items: Any) -> Any:
    mine = list(items)
    random.shuffle(mine)
    return mine


@says("environ")
def reads_environment(name: str) -> Any:
    return os.environ[name]


@says("getpid")
def reads_pid(n: int) -> int:
    return os.getpid() + n


@says("chdir")
def changes_directory(path: str) -> None:
    os.chdir(path)


@says("argv")
def reads_argv(n: int) -> Any:
    return sys.argv[n]


@says("get_ident")
def reads_thread(n: int) -> int:
    return threading.get_ident() + n


@says("eval")
def evaluates(text: str) -> Any:
    return eval(text)  # noqa: S307 - that is the case


@says("globals")
def reads_globals(name: str) -> Any:
    return globals()[name]


@says("setattr")
def sets_attribute(x: Any) -> None:
    setattr(x, "y", 1)  # noqa: B010 - that is the case


@says("it sets x.y")
def stores_attribute(x: Any) -> None:
    x.y = 1


@says("__class__")
def reads_dunder(x: Any) -> Any:
    return x.__class__.__name__


@says("id()")
def reads_id(x: Any) -> int:
    return id(x)


@says("the same")
def compares_identity(a: Any, b: Any) -> bool:
    return a is b


@says("iterator")
def gives_iterator(items: Any) -> Any:
    return (item for item in items)


@says("iterator")
def gives_matches(text: str) -> Any:
    return list(WORD.finditer(text))


@says("return a function")
def gives_function(n: int) -> Any:
    return lambda: n


@says("generator function")
def generates(n: int) -> Iterator[int]:
    yield n


@says("coroutine function")
async def awaits(n: int) -> int:
    return n


@says("unknown")
def calls_argument(fn: Any) -> Any:
    return fn()


@says("ClassDef")
def defines_class(n: int) -> Any:
    class Inner:
        pass

    return n


@dataclass
class Point:
    x: int

    def norm(self) -> int:
        return self.x + 1

    @classmethod
    def zero(cls) -> Point:
        return cls(0)

    @staticmethod
    def double(n: int) -> str:
        return str(n * 2)


@says("class Point")
def makes_point(n: int) -> Any:
    return Point(n)


says("bound method")(Point(1).norm)
says("bound method")(Point.zero)
says("class, of which nothing")(Point)
says("bound method")([].append)
says("bound method")(LOCK.acquire)
says("object of type")(operator.itemgetter(1))
says("builtins.print")(print)


@says("cache")
@functools.lru_cache
def cached(n: int) -> int:
    return n + 1


@says("cached")
def calls_cached(n: int) -> int:
    return cached(n)


def outer_counter() -> Callable[[], int]:
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return count

    return step


def over(value: Any) -> Callable[[Any], str]:
    def inner(x: Any) -> str:
        return f"{x} {value}"

    return inner


def late() -> list[Callable[[], str]]:
    made = []
    for i in range(3):
        made.append(lambda: str(i))  # noqa: B023, PERF401 - that is the case
    return made


says("count")(outer_counter())
says(FRESH)(over(5))
says("the variable value")(over([5]))
says("the variable i")(late()[0])

# --- decorated ---


def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def registered(fn: Any) -> Any:
    CACHE[fn.__name__] = fn
    return fn


@logged
def decorated(n: int) -> str:
    return str(n)


says(FRESH)(decorated)


@says(FRESH)
def calls_decorated(n: int) -> str:
    return decorated(n)


@registered
def marked(n: int) -> str:
    return str(n)


says(FRESH)(marked)


def counted(fn: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def wrapper(*args: Any) -> Any:
        calls.append(1)
        return fn(*args)

    return wrapper


@counted
def decorated_with_state(n: int) -> str:
    return str(n)


says("calls")(decorated_with_state)


@says(PARTS)
def middle(numbers: list[Any]) -> Any:
    return statistics.median(numbers)


@says(FRESH)
def count_of_nodes(text: str) -> int:
    return sum(1 for _ in ast.walk(ast.parse(text)))


@says(FRESH)
def count_of_tokens(text: str) -> int:
    return sum(1 for _ in tokenize.generate_tokens(io.StringIO(text).readline))


@says(FRESH)
def total_of_csv(text: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(text)):
        totals[row["kind"]] = totals.get(row["kind"], 0.0) + float(row["price"])
    return totals


@says("cannot be sent")
def rows_of_csv(text: str, missing: Any) -> list[Any]:
    return list(csv.DictReader(io.StringIO(text), None, None, missing))


# --- not written as a def ---

says(FRESH)(lambda n: str(n))
one, other = lambda n: str(n), lambda rows: rows.sort()
says(FRESH)(one)
says(DEEP)(other)
says(FRESH)(Point.double)
says(FRESH)(json.dumps)
says(FRESH)(json.loads)
says(FRESH)(math.sqrt)
says(FRESH)(zlib.compress)
says(FRESH)(", ".join)
says(PARTS)(Counter)
says(PARTS)(sorted)
says(DEEP)(max)
says(DEEP)(heapq.heappush)
says(FRESH)(datetime.datetime.fromisoformat)
says(FRESH)(functools.partial(with_defaults, step=3))
says("partial")(functools.partial(filtered, [1]))
says("cannot be sent")(map)
says("cannot be sent")(itertools.chain)

_scope: dict[str, Any] = {"__name__": __name__}
exec("def executed(n): return str(n)", _scope)  # noqa: S102 - that is the case
says("its globals are not those of a module")(_scope["executed"])
