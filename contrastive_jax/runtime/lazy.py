"""Names of a package that are imported on first use."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ['lazy_names']


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
      package: its `__name__`.
      modules: maps each public name to the module that defines it.

    Returns:
      A function that imports what a name stands for and keeps it in the package, and a function
      that lists the names that are there already and the public ones.
    """
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        namespace[name] = getattr(importlib.import_module(modules[name]), name)
        return namespace[name]

    return load, lambda: sorted({*namespace, *modules})
