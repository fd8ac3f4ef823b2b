"""How the values of Move's types are held.

bool                       bool
u8 … u256                  int
address                    bytes, 32 of them
vector<u8>                 bytearray
other vectors              list of the elements
struct                     list of the fields
enum                       list of the tag and the variant's fields
reference                  `Ref`

Nothing in a value tells its type: the types are those of the code, which `translate` checks.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Value: TypeAlias = Any
"""One of the above."""


class Ref:
    """A reference to the place `index` of a container: a frame's locals, a struct, an enum, a vector, an object's box.

    It stays with the place and not with what is in it, so that a write through one reference is seen through all.
    """

    __slots__ = ("container", "index")

    def __init__(self, container: Any, index: int) -> None:
        self.container = container
        self.index = index

    def get(self) -> Value:
        """Return the value in the place: the value itself, no copy."""
        return self.container[self.index]

    def set(self, value: Value) -> None:
        """Replace the value in the place."""
        self.container[self.index] = value


def copy_value(value: Value) -> Value:
    """Return a copy that shares nothing with the value; a reference's copy refers to the same place."""
    kind = type(value)
    if kind is list:
        return [copy_value(part) for part in value]
    if kind is bytearray:
        return bytearray(value)
    return value
