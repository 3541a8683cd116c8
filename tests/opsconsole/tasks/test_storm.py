"""Nothing of what is killed around a task makes it do something twice, lose a byte, or say what is not true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.sshfarm import Node, SshFarm
from tests.opsconsole.tasks.place import Place
from tests.opsconsole.tasks.storm import KINDS, Storm

HOSTS = 5


@pytest.fixture(scope="module")
def nodes(sshfarm: SshFarm) -> list[Node]:
    return [sshfarm.node() for _ in range(HOSTS)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    tmp_path.chmod(0o700)
    place = Place(tmp_path, None)
    try:
        yield place
    finally:
        place.close()


@pytest.mark.timeout(300)
def test_ten_kills(place: Place, nodes: list[Node]) -> None:
    """Thirty steps on five hosts, ten deaths of console, worker, connection and sshd."""
    storm = Storm(place, nodes, seed=1, steps=30, kills=10)
    task = storm.run()
    assert sum(storm.done.values()) == 10
    assert set(storm.done) == set(KINDS)
    assert len(task["results"]) == HOSTS


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_hundred_kills(place: Place, nodes: list[Node], seed: int) -> None:
    storm = Storm(place, nodes, seed=seed, steps=30, kills=11)
    storm.run()
    assert sum(storm.done.values()) == 11
