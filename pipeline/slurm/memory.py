"""Whether the kernel has killed something in this job for memory. Only a cgroup can tell; without one the answer is no."""

from pathlib import Path


def oom_kills() -> int:
    """Processes of this cgroup that the out-of-memory killer has ended so far."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            file = Path(f"/sys/fs/cgroup{path}/memory.events")
        elif "memory" in controllers.split(","):
            file = Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
        else:
            continue
        try:
            values = dict(entry.split(maxsplit=1) for entry in file.read_text().splitlines())
            return int(values.get("oom_kill", 0))
        except (OSError, ValueError):
            continue
    return 0
