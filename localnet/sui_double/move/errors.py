"""What can end an execution of Move code.

MoveError
├── BadBytecode          a module that is malformed or ill-typed: it is never executed
├── BadBytes             bytes that are not the BCS form of the type they are read as
├── LinkError            a module, function or datatype that is missing, not visible, or of another signature
├── UnsupportedNative    a native function that the double does not have
└── MoveFailure          the code's own failure, which a chain writes into a transaction's effects; it has a location
    ├── MoveAbort            `abort`, with its code
    ├── ArithmeticFailure    overflow, division by zero, a cast or a shift out of range
    ├── VectorFailure        an index out of range, an empty vector popped, a wrong length unpacked
    ├── VariantFailure       an enum unpacked as a variant that it is not
    └── LimitFailure         too deep a call, too large or too many of something
        └── StepsExhausted       too many instructions, where a network would be out of gas
"""

from __future__ import annotations

from typing import NamedTuple

from committee.errors import HauloutError


class MoveError(HauloutError):
    """Code could not be executed, or failed."""


class BadBytecode(MoveError):
    """A module is malformed or ill-typed; the message names the module where it is known."""


class BadBytes(MoveError):
    """Bytes are not the canonical BCS form of a value of the expected type."""


class LinkError(MoveError):
    """A module names a module, function or datatype that is missing, not visible, or not as it was declared."""


class UnsupportedNative(MoveError):
    """A native function was called that the double does not have."""


class Location(NamedTuple):
    """The instruction that failed."""

    address: bytes
    module: str
    function: str
    instruction: int

    def __str__(self) -> str:
        address = int.from_bytes(self.address, "big")
        return f"{address:#x}::{self.module}::{self.function} (instruction {self.instruction})"


class MoveFailure(MoveError):
    """Executed code failed. `location` is None until the machine knows which instruction it was."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.location: Location | None = None

    def __str__(self) -> str:
        return f"{self.message} in {self.location}" if self.location else self.message


class MoveAbort(MoveFailure):
    """The code aborted, with a code of its own."""

    def __init__(self, code: int) -> None:
        super().__init__(f"abort {code}")
        self.code = code


class ArithmeticFailure(MoveFailure):
    """A result does not fit its type, or a division by zero."""


class VectorFailure(MoveFailure):
    """An operation that the vector's length does not allow; `sub_status` is the Move VM's own number for it."""

    INDEX_OUT_OF_BOUNDS = 1
    POP_FROM_EMPTY = 2
    UNPACK_LENGTH = 3

    def __init__(self, message: str, sub_status: int) -> None:
        super().__init__(message)
        self.sub_status = sub_status


class VariantFailure(MoveFailure):
    """A value of an enum was unpacked as a variant that it is not."""


class LimitFailure(MoveFailure):
    """The execution used more than it may."""


class StepsExhausted(LimitFailure):
    """The execution took more instructions than it may."""
