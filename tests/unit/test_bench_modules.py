"""The benchmarks run by hand: what they name of the services must still be there."""

import importlib
import pkgutil

import pytest

import bench

MODULES = [one.name for one in pkgutil.walk_packages(bench.__path__, "bench.") if not one.name.endswith("__main__")]


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_finds_what_it_names(module: str) -> None:
    importlib.import_module(module)
