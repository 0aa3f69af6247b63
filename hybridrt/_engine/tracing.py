"""The current OpenTelemetry context on its way to a worker, in the form in which it travels to other services.

A carrier (``context.Carrier``). It uses the propagators that the program has set (``OTEL_PROPAGATORS``, or
``set_global_textmap``): by default trace context and baggage. Loaded where a program has loaded OpenTelemetry.
"""

from __future__ import annotations

from typing import Any


def pick_up() -> dict[str, str] | None:
    """The headers that the propagators make of the current context; None where it is empty, or they make none."""
    from opentelemetry import context

    current = context.get_current()
    if not current:
        return None
    from opentelemetry import propagate

    headers: dict[str, str] = {}
    propagate.inject(headers, context=current)
    return headers or None


def attach(headers: dict[str, str], /) -> Any:
    """Make what the headers say the current context."""
    from opentelemetry import context, propagate

    return context.attach(propagate.extract(headers))


def detach(token: Any, /) -> None:
    """Take it off again."""
    from opentelemetry import context

    context.detach(token)
