"""One private Slurm for all tests of this folder; they are skipped with the reason where none can be started."""

from collections.abc import Callable, Iterator

import pytest

from tests.slurm import tally
from tests.slurm.cluster import Cluster, why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three virtual nodes of 4 CPUs; arrays of at most 4 tasks, so that larger ones are split."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), settings={"MaxArraySize": "4"})
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(autouse=True)
def tallies(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Hands the tallies of a test to the summary (tests/conftest.py)."""
    tally.TOLD.clear()
    yield
    for line in tally.TOLD:
        record_property("tally", line)


@pytest.fixture
def on_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, with this process as one of its users: sbatch, squeue and what they start find it."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    return cluster
