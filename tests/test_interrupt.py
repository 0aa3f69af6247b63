"""``Interrupted`` passes ``except Exception`` by, and is one class under its public name and in every worker."""

from __future__ import annotations

import pickle

import pytest

import hybridrt
from hybridrt._core.interrupt import Interrupted


def test_except_exception_does_not_swallow_it() -> None:
    cleaned_up = False
    with pytest.raises(Interrupted, match="cancelled"):
        try:
            raise Interrupted("this call was cancelled")
        except Exception:  # what user code writes around everything
            pytest.fail("swallowed")
        finally:
            cleaned_up = True
    assert cleaned_up


def test_it_travels_by_its_public_name() -> None:
    assert hybridrt.Interrupted is Interrupted
    data = pickle.dumps(Interrupted("why"))
    assert b"_core" not in data
    assert type(pickle.loads(data)) is Interrupted
