"""One cluster a test session; skipped where Slurm is not installed, unless REQUIRE_SLURM=1."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.launch.conftest import room as room
from tests.launch.room import Room
from tests.slurm.cluster import APT, Cluster, ClusterError, missing_binaries, running
from tests.slurm.yard import Yard


@pytest.fixture(scope="session")
def slurm_installed() -> None:
    """For tests that start a cluster of their own with `running(Options(...))`."""
    missing = missing_binaries()
    if not missing:
        return
    reason = f"Slurm is not installed (no {', '.join(missing)}): {APT}"
    if os.environ.get("REQUIRE_SLURM") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(slurm_installed: None) -> Iterator[Cluster]:
    """A two-node Slurm that SLURM_CONF names until the session ends."""
    try:
        with running() as started:
            yield started
    except ClusterError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def idle_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The same, whole and without jobs again after the test, whatever that killed or queued."""
    yield cluster
    cluster.restore()


@pytest.fixture
def yard(idle_cluster: Cluster, room: Room) -> Yard:
    """A room whose suites go to the cluster."""
    return Yard(room.folder, idle_cluster)
