"""What a runtime learned is in its file when it has been left, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import work

import hybridrt
from hybridrt._lanes import profile_file


async def test_a_runtime_writes_it_and_the_next_one_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    async with hybridrt.Runtime(placement=path) as rt:
        while "too little" in rt.explain(work.double).reason or "nothing" in rt.explain(work.double).reason:
            await rt.run(work.double, 1)
    text = path.read_text()
    assert [name.split()[0] for name in json.loads(text)["functions"]] == ["work.double"]
    assert json.loads(text)["functions"].popitem()[1]["kind"] == "quick"
    async with hybridrt.Runtime(placement=str(path)) as rt:
        await rt.run(work.double, 1)
        assert "it is done in" in rt.explain(work.double).reason
    assert json.loads(path.read_text())["functions"].keys() == json.loads(text)["functions"].keys()
    assert [it.name for it in tmp_path.iterdir()] == ["profile.json"]


async def test_what_is_no_profile_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    for text in (b"not json", b"\xff\xfe"):
        path.write_bytes(text)
        rt = hybridrt.Runtime(placement=path)
        with pytest.raises(ValueError, match=r"profile.json.*: it is not JSON.*Name another file, or delete"):
            await rt.__aenter__()
        assert path.read_bytes() == text
    path.unlink()
    async with rt:  # it was not entered, so it can be
        pass
    with pytest.raises(OSError, match="directory"):
        await hybridrt.Runtime(placement=tmp_path).__aenter__()
    with pytest.raises(TypeError, match=r"placement=.* must be the path of a file, not int"):
        hybridrt.Runtime(placement=3)


async def test_a_file_that_cannot_be_written_is_told_of_and_hurts_nothing(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match=r"could not be saved \(placement=.*No such file"):
        async with hybridrt.Runtime(placement=tmp_path / "no" / "such" / "folder.json") as rt:
            assert await rt.run(work.double, 1) == 2
    with pytest.warns(RuntimeWarning, match="could not be saved"):
        profile_file.save(str(tmp_path), "text")  # a folder is in its place
    assert list(tmp_path.iterdir()) == []
