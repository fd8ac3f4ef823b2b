"""The timelock of the Move package: what the governor does is announced, and done by anybody after the delay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from committee.terms import Terms
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.stored import Owner, OwnerKind
from tests.contracts.sui.deployments import BEGIN_S, STRANGER, USUAL, Deployment, id_of
from tests.contracts.sui.double import Refused
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

DELAY_S = 100
YEAR_S = 365 * 24 * 3600
REGISTRATION = 0


class Locked(Deployment):
    """A deployment whose governor's capability a timelock has."""

    def __init__(self) -> None:
        super().__init__()
        self.proposer = self.call("timelock", "create", self.governor, DELAY_S)
        self.timelock = Ref([self.output("Timelock")], 0)

    def announce(self, action: str, *given: Value, delay_s: int = DELAY_S) -> int:
        made = self.call("timelock", action, *given)
        number = self.call("timelock", "announce", self.timelock, self.proposer, made, delay_s, self.clock)
        return int(number)

    def execute(self, on: str, number: int) -> None:
        objects: dict[str, tuple[Value, ...]] = {
            "system": (self.system,),
            "blobs": (self.blobs,),
            "staking": (self.staking, self.system),
            "itself": (),
        }
        self.call(
            "timelock", f"execute_on_{on}", self.timelock, *objects[on], number, self.clock, sender=STRANGER
        )

    def given_to(self, name: str, recipient: bytes) -> Value:
        """Return the only object of a type that an account has."""
        owner = Owner(OwnerKind.ADDRESS, recipient)
        outputs = self.transaction.host.outputs.values()
        (found,) = (one.value for one in outputs if one.type.name == name and one.owner == owner)
        return found

    def is_paused(self) -> bool:
        try:
            self.call("system", "check_open", self.system, REGISTRATION, self.clock)
        except Refused:
            return True
        return False


CHANGED = replace(USUAL, patience_s=31)


def changes_parameters(locked: Locked) -> bool:
    name, fields = locked.events()[-1]
    return (name, fields) == ("ParametersChanged", [1, locked.parameters(CHANGED)])


def changes_terms(locked: Locked) -> bool:
    return bool(locked.call("blobs", "terms", locked.blobs) == locked.terms(Terms(7, 8, 9)))


def names_guardian(locked: Locked) -> bool:
    guardian = locked.given_to("GuardianCap", STRANGER)
    locked.call("system", "pause", locked.system, guardian, REGISTRATION, locked.clock)
    return locked.is_paused()


def names_slasher(locked: Locked) -> bool:
    cap = id_of(locked.given_to("SlasherCap", STRANGER))
    return locked.events()[-1] == ("SlasherChanged", [[[cap]], 2])


@pytest.mark.parametrize(
    ("on", "action", "argument", "is_done"),
    [
        ("system", "set_parameters", lambda locked: locked.parameters(CHANGED), changes_parameters),
        ("system", "pause", lambda _: REGISTRATION, Locked.is_paused),
        ("system", "replace_guardian", lambda _: STRANGER, names_guardian),
        ("blobs", "set_terms", lambda locked: locked.terms(Terms(7, 8, 9)), changes_terms),
        ("staking", "name_slasher", lambda _: STRANGER, names_slasher),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_announced_is_done_by_anybody_after_the_delay(
    on: str, action: str, argument: Callable[[Locked], Value], is_done: Callable[[Locked], bool]
) -> None:
    locked = Locked()
    made = locked.call("timelock", action, argument(locked))
    number = locked.announce(action, argument(locked))
    assert locked.events()[-1] == ("Announced", [number, made, BEGIN_S + DELAY_S])
    locked.time_s += DELAY_S - 1
    with pytest.raises(Refused, match=r"^ETooEarly$"):
        locked.execute(on, number)
    locked = Locked()
    number = locked.announce(action, argument(locked))
    locked.time_s += DELAY_S
    locked.execute(on, number)
    assert is_done(locked)
    with pytest.raises(Refused, match=r"^ENotAnnounced$"):
        locked.execute(on, number)


def test_pause_and_rights_end_as_announced() -> None:
    locked = Locked()
    locked.call("system", "pause", locked.system, locked.guardian, REGISTRATION, locked.clock)
    numbers = [
        locked.announce(action, *given)
        for action, *given in (("unpause", REGISTRATION), ("remove_guardian",))
    ]
    slasher = locked.announce("remove_slasher")
    locked.time_s += DELAY_S
    assert locked.is_paused()
    for number in numbers:
        locked.execute("system", number)
    assert not locked.is_paused()
    with pytest.raises(Refused, match=r"^ENotGuardian$"):
        locked.call("system", "pause", locked.system, locked.guardian, REGISTRATION, locked.clock)
    locked.execute("staking", slasher)
    assert locked.events()[-1] == ("SlasherChanged", [[[]], 0])


ACTIONS: dict[str, tuple[Any, ...]] = {
    "system": ("pause", REGISTRATION),
    "blobs": ("set_terms",),
    "staking": ("remove_slasher",),
    "itself": ("set_delay", 7),
}


@pytest.mark.parametrize("on", ACTIONS)
@pytest.mark.parametrize("announced", ACTIONS)
def test_each_action_is_done_by_its_own_function(announced: str, on: str) -> None:
    locked = Locked()
    action, *given = ACTIONS[announced]
    number = locked.announce(
        action, *(given or ([locked.terms(Terms(7, 8, 9))] if announced == "blobs" else []))
    )
    locked.time_s += DELAY_S
    if on == announced:
        locked.execute(on, number)
        return
    with pytest.raises(Refused, match=r"^EOtherAction$"):
        locked.execute(on, number)


def test_proposer_cancels_what_it_announced() -> None:
    locked = Locked()
    number = locked.announce("pause", REGISTRATION)
    locked.call("timelock", "cancel", locked.timelock, locked.proposer, number)
    locked.time_s += DELAY_S
    for attempt in (
        lambda: locked.execute("system", number),
        lambda: locked.call("timelock", "cancel", locked.timelock, locked.proposer, number),
    ):
        with pytest.raises(Refused, match=r"^ENotAnnounced$"):
            attempt()


def test_proposer_of_another_timelock_announces_and_cancels_nothing() -> None:
    locked = Locked()
    number = locked.announce("pause", REGISTRATION)
    other = [[[bytes([9]) * 32]]]
    action = locked.call("timelock", "pause", REGISTRATION)
    with pytest.raises(Refused, match=r"^ENotProposer$"):
        locked.call("timelock", "announce", locked.timelock, other, action, DELAY_S, locked.clock)
    with pytest.raises(Refused, match=r"^ENotProposer$"):
        locked.call("timelock", "cancel", locked.timelock, other, number)


@pytest.mark.parametrize("delay_s", [DELAY_S - 1, YEAR_S + 1])
def test_delay_is_the_timelocks_at_least_and_a_year_at_most(delay_s: int) -> None:
    with pytest.raises(Refused, match=r"^EInvalidDelay$"):
        Locked().announce("pause", REGISTRATION, delay_s=delay_s)
    with pytest.raises(Refused, match=r"^EInvalidDelay$"):
        locked = Locked()
        locked.call("timelock", "create", locked.governor, YEAR_S + 1)


def test_delay_changes_after_the_delay() -> None:
    locked = Locked()
    number = locked.announce("set_delay", 7)
    locked.time_s += DELAY_S
    locked.execute("itself", number)
    locked.announce("pause", REGISTRATION, delay_s=7)


def test_released_capability_is_the_recipients_and_the_timelock_does_nothing_more() -> None:
    locked = Locked()
    number, late = locked.announce("release", STRANGER), locked.announce("pause", REGISTRATION)
    locked.time_s += DELAY_S
    locked.execute("itself", number)
    assert locked.given_to("GovernorCap", STRANGER) == locked.governor
    with pytest.raises(Refused, match=r"^EReleased$"):
        locked.execute("system", late)


def test_timelock_of_another_version_is_refused() -> None:
    locked = Locked()
    locked.timelock.get()[1] = 2
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        locked.announce("pause", REGISTRATION)
