"""The databases of the lab and a house on top of them."""

from tests.lab.postgres import _sqlite_template, make_url, postgres_server
from tests.opsconsole.houses import bench, small_bench

__all__ = ["_sqlite_template", "bench", "make_url", "postgres_server", "small_bench"]
