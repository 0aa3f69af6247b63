"""Modules that look as if they were installed: what the zygote learns, and a test's own files are not."""

from __future__ import annotations

from pathlib import Path

IN_A_PROBE = "__import__('os').readlink('/proc/self/fd/1').startswith('/memfd:hybridrt-probe')"
"""An expression for their code: whether it runs in a probe, and not in a worker or in the zygote."""


def install(folder: Path, **modules: str) -> str:
    """Put modules with this code where installed ones are; what goes on ``sys.path`` to have them."""
    site = folder / "site-packages"
    site.mkdir(exist_ok=True)
    for name, code in modules.items():
        (site / f"{name}.py").write_text(code)
    return str(site)
