"""A house with an authority in it."""

from tests.opsconsole.houses import bench, small_bench

__all__ = ["bench", "small_bench"]
