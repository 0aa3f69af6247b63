"""Whether a function means the same in a worker process: proven from its source, or refused with the reason.

A function may be moved where all of this is shown; whatever is not shown keeps it in a thread. It is a plain function
(or a partial of one, or a known function of the builtins, the standard library or numpy), no method, callable object,
cache, generator or coroutine function. The source at hand compiles to the very code that runs. Every global that it
reads, and that the functions it calls read, is a module, a known or likewise proven function, or an immutable
constant that its module binds once, at the top level, by an expression that a fresh import repeats; free variables
are immutable or proven functions, bound once; defaults are immutable. It stores to no global, no attribute, and calls
nothing that has state of the process: no files, environment, random numbers, locks, context variables, ``print``,
``id``. It tells no two objects apart with ``is``, makes no instance of a class of yours but built-in exceptions, and
gives back nothing that cannot be sent. What it does to its arguments is followed through aliases, containers,
closures, helpers and callbacks: where it may change them or give them back, it is moved only for calls in which
nobody can tell, since what could be changed or given back is immutable. Arguments are plain data of exact types:
numbers, texts, bytes, the builtin containers, dates, paths, UUIDs, fractions, patterns, plain enum members, arrays of
numbers; anything else, a file, a lock, a connection, an iterator, an instance of a class of yours, keeps the call in
a thread. A verdict counts as long as all that was read is still the same object. Taken for granted: nobody relies on
the order of a set, on warnings filters, on the time zone or locale being changed while the program runs, or changes
an argument while the call is waiting; and a decorator that gives a function back as it is does so in each process.

The tour: ``source`` finds the syntax tree that surely is the running code; ``bindings`` says what a global name
means; ``values`` is the algebra of possibilities; ``state``, ``expressions``, ``calls`` and ``flow`` run a function
on them; ``trusted`` and ``methods`` are the tables; ``plain`` judges arguments; ``examination`` comes to a ``verdict``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .verdict import Verdict


def examine(fn: Callable[..., Any]) -> Verdict:
    """Whether ``fn`` may be moved to a worker process: reads source text and takes milliseconds; never raises.

    One at a time, in any thread. All that it takes is loaded with the first.
    """
    from .examination import examine as examine_now

    return examine_now(fn)
