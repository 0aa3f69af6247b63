"""The file that a runtime's placement starts from and is saved to."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress

from .._core.placement_profile import Profile


def load(path: str) -> Profile:
    """What is in the file; nothing where there is none yet. Raises ValueError where it is something else; OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return Profile()
    except UnicodeDecodeError:
        text = "?"
    try:
        return Profile.parse(text)
    except ValueError as exc:
        raise ValueError(
            f"Runtime(placement={path!r}): {exc}. Name another file, or delete this one to begin anew"
        ) from None


def save(path: str, text: str) -> None:
    """Replace the file, at once or not at all. Warns where that cannot be."""
    folder, name = os.path.split(os.path.abspath(path))
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        try:
            with open(beside, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(beside, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise
    except OSError as exc:
        warnings.warn(
            f"hybridrt: what was learned of functions could not be saved (placement={path!r}): {exc}",
            RuntimeWarning,
            stacklevel=2,
        )
