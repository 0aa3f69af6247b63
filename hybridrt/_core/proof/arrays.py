"""What is asked of a call of numpy's, so that it writes into no array and makes no array of objects unseen."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from .trusted import NUMPY_KEYWORDS, Trusted
from .values import Refused, Value


def check_call(
    item: Trusted, args: Sequence[Value], keywords: Mapping[str | None, Value], node: ast.expr, line: int
) -> None:
    if item.at_most is None:
        return
    if len(args) > item.at_most or not set(keywords) <= NUMPY_KEYWORDS:
        raise Refused(f"it calls {item.name}() with arguments that are not looked into (line {line})")
    if not isinstance(node, ast.Call) or any(isinstance(arg, ast.Starred) for arg in node.args):
        raise Refused(f"it calls {item.name}() with arguments that are not known (line {line})")
    for keyword in node.keywords:
        if keyword.arg == "dtype":
            check_dtype(keyword.value, keywords["dtype"], line)


def check_dtype(node: ast.expr, value: Value, line: int) -> None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if not set(node.value) & {"O", "V", ","} and not node.value.startswith("obj"):
            return
    elif value.calls and not value.bits and all(isinstance(item, Trusted) for item in value.calls):
        return
    raise Refused(f"it chooses an array's type in a way that is not looked into (line {line})")
