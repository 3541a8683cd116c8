"""A house on top of the lab's databases, and an operation made for tests."""

from tests.opsconsole.houses import bench, small_bench
from tests.opsconsole.probes import probe
from tests.opsconsole.wiping import wipe

__all__ = ["bench", "probe", "small_bench", "wipe"]
