"""The benchmarks for `pytest -m bench -s`: each prints its table; a wrong answer fails, a missed goal does not."""

from __future__ import annotations

import pytest

from tests.benchmarks import places
from tests.benchmarks.__main__ import BENCHMARKS, run
from tests.benchmarks.measure import as_json_line
from tests.lab.fixtures import skip
from tests.lab.packages import LabMissing


@pytest.fixture(scope="module", autouse=True)
def byte_code() -> None:
    places.compile_all()


@pytest.mark.bench
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark(name: str) -> None:
    try:
        table = run(name)
    except LabMissing as missing:
        skip(f"benchmark {name}", str(missing))
    print(f"\n{table.text()}\n{as_json_line(table)}")
    assert all(sample.wall > 0 for samples in table.samples.values() for sample in samples)
