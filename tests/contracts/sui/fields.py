"""What the Move package keeps, by the names of fields."""

from __future__ import annotations

from typing import Any

from localnet.sui_double.move.module import StructDefinition
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.move.values import Value
from tests.contracts.sui.double import PACKAGE, modules


class Fields:
    """The fields of a struct of the package, by their names."""

    def __init__(self, module: str, name: str, value: Value) -> None:
        definition = modules().datatype(Datatype(ModuleId(PACKAGE, module), name))
        assert isinstance(definition, StructDefinition)
        self._places = {field.name: place for place, field in enumerate(definition.fields)}
        self._value = value

    def __getitem__(self, name: str) -> Any:
        return self._value[self._places[name]]

    def set(self, **values: Value) -> None:
        """Set fields."""
        for name, value in values.items():
            self._value[self._places[name]] = value
