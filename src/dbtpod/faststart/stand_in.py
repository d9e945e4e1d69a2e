"""Modules that stand in for others until something of them is used.

    sys.modules["requests"] = Module("requests")

What has imported it gets the real module's names by it; what imports that name later gets the real module.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Module(ModuleType):
    """Stands in for the module of its name; what is imported from it before `imports_end` stands in as well."""

    _gives_names = True

    def __getattr__(self, name: str) -> Any:
        """Give what stands in for that name, or what it is."""
        if name.startswith("__"):  # of the module as such, which the import system asks for
            raise AttributeError(name)
        return _Name(self, name) if self._gives_names else getattr(self.real(), name)

    def imports_end(self) -> None:
        """Be the module itself, from here on, for those that have this one."""
        self._gives_names = False
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def real(self) -> ModuleType:
        """Import the module."""
        self.imports_end()
        return import_module(self.__name__)


class Package(Module):
    """Stands in for a package whose modules can be imported without it; it gives no names of its own."""

    _gives_names = False

    def __init__(self, name: str, folders: list[str]) -> None:
        super().__init__(name)
        self.__path__ = folders


class _Name:
    """Stands in for a function or class of a module."""

    def __init__(self, module: Module, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self._module.real(), self._name)(*args, **options)

    def __getitem__(self, types: Any) -> Any:
        return getattr(self._module.real(), self._name)[types]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(getattr(self._module.real(), self._name), name)
