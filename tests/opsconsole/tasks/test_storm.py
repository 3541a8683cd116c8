"""Nothing of what is killed around a task makes it do something twice, lose a byte, or say what is not true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.postgres import PostgresServer
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


@pytest.fixture
def postgres_place(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    tmp_path.chmod(0o700)
    url = postgres_server.create("opsconsole_template")
    place = Place(tmp_path, url)
    try:
        yield place
    finally:
        place.close()
        postgres_server.drop(url)


@pytest.mark.timeout(300)
def test_ten_kills(place: Place, nodes: list[Node]) -> None:
    """Thirty steps on five hosts, ten deaths of console, worker, connection and sshd."""
    storm = Storm(place, nodes, seed=1, steps=30, kills=10)
    ended = storm.run()
    assert sum(storm.done.values()) == 10
    assert set(storm.done) == set(KINDS)
    assert {len(task["results"]) for task in ended} == {HOSTS}


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_hundred_kills(place: Place, nodes: list[Node], seed: int) -> None:
    storm = Storm(place, nodes, seed=seed, steps=30, kills=11)
    storm.run()
    assert sum(storm.done.values()) == 11


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12, 22))
def test_a_hundred_kills_around_two_workers_on_postgresql(
    postgres_place: Place, postgres_server: PostgresServer, nodes: list[Node], seed: int
) -> None:
    """Two tasks at once; one of two workers dies, and the server is restarted as well."""
    storm = Storm(postgres_place, nodes, seed=seed, steps=15, kills=11, server=postgres_server, at_once=2)
    storm.run()
    assert sum(storm.done.values()) == 11
