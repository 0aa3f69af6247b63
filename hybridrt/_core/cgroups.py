"""Where our control groups are: the folders whose files limit and count what this process and its children use.

``/proc/self/cgroup`` says which groups we are in and ``/proc/self/mountinfo`` where their trees are mounted (proc(5),
cgroups(7), the kernel's admin-guide/cgroup-v2). In v1 each controller may have a tree of its own; in v2 there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

Read = Callable[[str], str | None]

# Where distributions mount them, for a /proc that hides mountinfo.
_USUAL_V1 = {
    "cpu": ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"),
    "memory": ("/sys/fs/cgroup/memory",),
}
_USUAL_V2 = ("/sys/fs/cgroup",)


def read_text(path: str) -> str | None:
    """The text of a (small, virtual) file, None where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY)  # a third of what open() takes, and this is read at start-up
    except (OSError, ValueError):
        return None
    pieces = []
    try:
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    except OSError:
        return None
    finally:
        os.close(fd)
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def folders(read: Read, controller: str) -> Iterator[tuple[str, bool]]:
    """The folders of our groups and of those above them, ours first, and whether they are v2.

    ``controller`` ("cpu", "memory") picks the tree in v1. They come as far as they are mounted here: what a container
    cannot see of its host is not among them.
    """
    mounts = _mounts(read("/proc/self/mountinfo"), controller)
    for path, is_v2 in _memberships(read("/proc/self/cgroup"), controller):
        for mount, below in _views(path, [m[:2] for m in mounts if m[2] is is_v2]):
            parts = [part for part in below.split("/") if part]
            for depth in range(len(parts), -1, -1):
                yield "/".join([mount.rstrip("/"), *parts[:depth]]), is_v2


def _memberships(text: str | None, controller: str) -> Iterator[tuple[str, bool]]:
    """Paths of our groups in the trees that may have this controller: lines are ``id:controllers:path``."""
    for line in (text or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield path, True
        elif controller in controllers.split(","):
            yield path, False


def _mounts(text: str | None, controller: str) -> list[tuple[str, str, bool]]:
    """(root within the tree, where it is mounted, whether it is v2) of each mount that may have this controller."""
    if text is None:
        usual = [(path, False) for path in _USUAL_V1[controller]] + [(path, True) for path in _USUAL_V2]
        return [("/", path, is_v2) for path, is_v2 in usual]
    found = []
    for line in text.splitlines():
        if "cgroup" not in line:
            continue  # a machine with containers has hundreds of other mounts
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not dash or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" or (kind[0] == "cgroup" and controller in kind[2].split(",")):
            found.append((_unescape(fields[3]), _unescape(fields[4]), kind[0] == "cgroup2"))
    return found


def _unescape(path: str) -> str:
    # The kernel writes space, tab, newline and backslash as octal numbers; the backslash comes last.
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _views(path: str, mounts: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Where our group is seen: (mount point, our path below it).

    A container without a namespace of its own for cgroups has its group bound to the mount point, with the path on
    the host in ``/proc/self/cgroup``: the mount's root is cut off. In a group outside of our namespace the path
    climbs (``/../..``), and on some hosts no root fits: what is mounted is the nearest thing to ours then.
    """
    fitting = [
        (mount, path[len(root.rstrip("/")) :])
        for root, mount in mounts
        if ".." not in path.split("/") and (path == root or path.startswith(f"{root.rstrip('/')}/"))
    ]
    yield from fitting or [(mount, "") for _, mount in mounts]
