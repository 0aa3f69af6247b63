"""A worker's end runs every hook and writes out every file, and takes apart only what the worker has made."""

from __future__ import annotations

from pathlib import Path

from by_hand import Zygote

from hybridrt._engine import wire


def end(zygote: Zygote, code: str) -> None:
    worker = zygote.fork()
    worker.call(1, exec, code, {}).result()
    worker.send(wire.pack(wire.QUIT, 0, 0))
    assert worker.exitcode() == 0
    worker.close()


def test_hooks_run_with_every_module_in_its_place(tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = f"""
import atexit
@atexit.register
def say():
    import colorsys, json, sys
    open({str(said)!r}, "w").write(f"{{'json' in sys.modules}} {{sys.modules['colorsys'] is colorsys}}")
"""
    zygote = Zygote("colorsys")
    end(zygote, code)
    zygote.close()
    assert said.read_text() == "True True"


def test_a_file_that_hangs_on_a_preloaded_module_is_written_out(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("text", "bytes", "both")]
    text, data, both = map(str, files)
    zygote = Zygote("colorsys")
    code = f"""
import colorsys
colorsys.text = open({text!r}, "w"); colorsys.text.write("written")
colorsys.data = open({data!r}, "wb"); colorsys.data.write(b"written")
colorsys.both = open({both!r}, "w+b"); colorsys.both.write(b"written")
colorsys.gone = open({text!r}); colorsys.gone.close()
"""
    end(zygote, code)
    zygote.close()
    assert [file.read_text() for file in files] == ["written"] * 3


def test_what_a_call_has_made_or_imported_ends_as_ever(tmp_path: Path) -> None:
    said = tmp_path / "said"
    module = tmp_path / "brought.py"
    module.write_text(
        "class Ends:\n    def __init__(self, path):\n        self.path, self.open = path, open\n"
        "    def __del__(self):\n        self.open(self.path, 'a').write('ended ')\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import brought
brought.kept = brought.Ends({str(said)!r})
"""
    zygote = Zygote()
    end(zygote, code)
    zygote.close()
    assert said.read_text() == "ended "


def test_pages_that_are_shared_with_the_zygote_are_not_copied_at_the_end() -> None:
    code = """
import atexit, resource, os, colorsys
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
"""
    zygote = Zygote("numpy", "resource")
    measured = []
    for ends_by in (wire.QUIT, None):
        worker = zygote.fork()
        worker.call(1, exec, code, {}).result()
        if ends_by is None:
            worker.hang_up()  # it goes at once, and takes nothing apart
        else:
            worker.send(wire.pack(ends_by, 0, 0))
        worker.exitcode()
        worker.close()
        measured.append(faults_of_ended_children(zygote))
    zygote.close()
    by_quit, by_both = measured
    of_numpy = 2000  # what taking numpy apart touches, in pages (measured: 2,600)
    assert by_quit - (by_both - by_quit) < of_numpy


def faults_of_ended_children(zygote: Zygote) -> int:
    """Pages that those whom it has reaped have touched."""
    fields = Path(f"/proc/{zygote.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[8])
