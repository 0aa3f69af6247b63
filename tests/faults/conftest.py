"""Scenes that many faults share: one for each file and loop, because a runtime takes a tenth of a second to start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from scene import Scene, a_lasting_scene, a_standing_scene, renewed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    """No fault costs a worker here; a call that is cancelled is soon killed."""
    async with a_lasting_scene() as scene:
        yield scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient() -> AsyncIterator[Scene]:
    """No fault costs a worker here; a call that is cancelled has time to stop."""
    async with a_lasting_scene(interrupt_grace=10) as scene:
        yield scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _standing() -> AsyncIterator[Scene]:
    async with a_standing_scene() as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module")
async def costly(_standing: Scene) -> AsyncIterator[Scene]:
    """A fault may cost workers here. For tests marked ``leaves_processes``: this looks at what is left, by number."""
    async with renewed(_standing):
        yield _standing
