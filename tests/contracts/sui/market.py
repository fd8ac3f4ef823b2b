"""Accounts that buy space and register blobs in the Move package, and do the same on the chain in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from committee import messages
from committee.certificate import Certificate
from committee.ledger import MEBIBYTE, BlobRecord, BlockMark, EpochState
from committee.messages import Intent
from committee.terms import Terms
from localnet.sui_double.move.values import Ref, Value
from tests.contracts.sui.committees import EPOCH, committee_of, signed_by
from tests.contracts.sui.deployments import DOMAIN, USUAL
from tests.contracts.sui.fields import Fields
from tests.contracts.sui.offices import Office
from tests.memory_chain import blobs as rules
from tests.memory_chain import space
from tests.memory_chain.contracts import Contracts, Outcome, Revert, usual_proof_terms

COMMITTEE = committee_of((4, 3, 2, 1))
NEVER = 2**64 - 1


class Market(Office):
    """Accounts that do the same in the double and on the chain in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.reservations: dict[int, Ref] = {}
        """By their ids on the chain in memory."""
        self.objects: dict[int, bytes] = {}
        """Ids of blob objects, by their numbers, which are their ids on the chain in memory."""
        block = BlockMark(1, bytes(32))
        state = EpochState(
            block, 0, 0, 0, 0, block, True, self.time_s, self.time_s, None, None, None, salt_seed=None
        )
        self.contracts = Contracts(USUAL, state, self.time_s, usual_proof_terms(60))
        unlimited = self.terms(Terms(3, 2, 1 << 60))
        self.call("blobs", "set_terms", self.blobs, self.governor, unlimited)
        self.next_period()

    def next_period(self) -> None:
        """Begin the next period with the same members; its handover is done at once."""
        self.wait(USUAL.period_duration_s)
        before = self.contracts.state
        epoch = before.epoch + 1 if before.epoch else EPOCH
        self.start(replace(COMMITTEE, epoch=epoch), before.period + 1)
        self.finish()
        self.contracts = self.contracts.changed(
            epoch=epoch,
            period=before.period + 1,
            first_epoch=epoch,
            started_at_s=self.time_s,
            last_handover_done_s=self.time_s,
            regular_handover_done_s=self.time_s,
            previous=before.current,
            current=replace(COMMITTEE, epoch=epoch),
        )

    def wait(self, seconds: int) -> None:
        self.time_s += seconds
        self.contracts = replace(self.contracts, time_s=self.time_s)

    def do(self, rule: Callable[[Contracts], Outcome], call: Callable[[], Any]) -> str:
        """Do the same in both; return the name of the error with which both refuse, nothing for none."""
        try:
            then, _ = rule(self.contracts)
        except Revert as revert:
            with self.refuses(f"E{revert.reason}"):
                call()
            return revert.reason
        call()
        self.contracts = then
        return ""

    def reserve(self, account: bytes, mebibytes: int, periods: int) -> str:
        def call() -> None:
            arguments = (mebibytes, periods, self.purse, self.clock)
            self.keep(self.call("blobs", "reserve", self.blobs, self.system, *arguments, sender=account))

        rule = partial(
            space.reserve, account=named(account), size_bytes=mebibytes * MEBIBYTE, periods=periods
        )
        return self.do(rule, call)

    def keep(self, reservation: Value) -> None:
        self.reservations[self.contracts.reservation_count + 1] = Ref([reservation], 0)

    def take(self, key: int) -> Value:
        """Return a reservation to be given away by value."""
        return deepcopy(self.reservations[key].get())

    def register(self, key: int, root: bytes, length: int, deletable: bool, known_up_to: int | None) -> str:
        account = self.contracts.reservations[key].owner
        known = NEVER if known_up_to is None else known_up_to

        def call() -> None:
            self.call(
                *("blobs", "register", self.blobs, self.system, self.take(key)),
                *(int.from_bytes(root, "little"), length, deletable, known, self.purse, self.clock),
                sender=bytes.fromhex(account),
            )
            self.objects[len(self.contracts.records) + 1] = next(reversed(self.transaction.host.outputs))
            del self.reservations[key]

        return self.do(
            lambda now: rules.register_in(now, account, key, root, length, deletable, known_up_to), call
        )

    def certify(self, number: int, epoch: int, places: set[int]) -> str:
        record = self.contracts.records[number]
        body = partial(messages.blob_body, record.blob_id)
        in_memory, in_move = (
            signed_by(
                COMMITTEE,
                places,
                messages.encode(Intent.BLOB, epoch, body(id_ if record.deletable else None), DOMAIN),
            )
            for id_ in (number, int.from_bytes(self.objects[number], "big"))
        )
        signed = Certificate(epoch, in_memory.message, in_memory.bitmap, in_memory.signature)
        return self.do(
            lambda now: rules.certify(now, number, signed),
            lambda: self.call(
                *("blob", "certify", self.blob(number), self.system, epoch),
                *(in_move.bitmap, in_move.signature, self.clock),
            ),
        )

    def blob(self, number: int) -> Ref:
        return Ref([self.transaction.host.outputs[self.objects[number]].value], 0)

    def extend(self, number: int, periods: int, known_end: int) -> str:
        arguments = (self.blob(number), periods, known_end, self.purse, self.clock)
        return self.do(
            lambda now: rules.extend(now, number, periods, known_end),
            lambda: self.call("blobs", "extend", self.blobs, self.system, *arguments),
        )

    def extend_with(self, number: int, key: int) -> str:
        """Extend an object with a reservation. What a reservation has before the object's end is split off first."""
        reserved, end = self.contracts.reservations[key], self.contracts.records[number].end_period
        if max(reserved.start_period, self.period) < end < reserved.end_period:
            later = self.call("reservation", "split_by_period", self.reservations[key], end)
            self.keep(later)
            self.contracts, _ = space.split_by_period(self.contracts, reserved.owner, key, end)
            key = self.contracts.reservation_count
        refusal = self.do(
            lambda now: rules.extend_with(now, reserved.owner, number, key),
            lambda: self.call(
                *("blobs", "extend_with", self.blobs, self.system),
                *(self.blob(number), self.take(key), self.clock),
            ),
        )
        if not refusal:
            del self.reservations[key]
        return refusal

    def transfer(self, number: int, to: bytes) -> str:
        owner = self.contracts.records[number].owner
        return self.do(
            lambda now: rules.transfer(now, owner, number, named(to)),
            lambda: self.call(
                "blobs", "transfer", self.blobs, self.system, deepcopy(self.blob(number).get()), to
            ),
        )

    def delete(self, number: int) -> str:
        owner = self.contracts.records[number].owner
        return self.do(
            lambda now: rules.remove(now, owner, number),
            lambda: self.keep(
                self.call("blobs", "delete", self.blobs, self.system, deepcopy(self.blob(number).get()))
            ),
        )

    def invalidate(self, blob_id: bytes) -> str:
        epoch, body = self.contracts.state.epoch, messages.invalid_blob_body(blob_id)
        given = signed_by(COMMITTEE, {0}, messages.encode(Intent.INVALID_BLOB, epoch, body, DOMAIN))
        signed = Certificate(epoch, given.message, given.bitmap, given.signature)
        on_chain = int.from_bytes(blob_id, "little")
        return self.do(
            lambda now: rules.invalidate(now, blob_id, signed),
            lambda: self.call(
                *("blob", "invalidate", self.system, on_chain, epoch),
                *(given.bitmap, given.signature, self.clock),
            ),
        )

    def listed(self) -> dict[int, Fields]:
        """Return the objects that the store lists, by their numbers."""
        table = Fields("blobs", "State", self.state_of(self.blobs))["listed"]
        children = self.transaction.host.children.values()
        entries = (one.place[0] for one in children if one.parent == table[0][0][0] and one.place)
        return {entry[1]: Fields("blobs", "Listed", entry[2]) for entry in entries}

    def check(self) -> None:
        """Compare all objects and reservations, and what is booked with the space that they take."""
        listed = self.listed()
        records = {number: one for number, one in self.contracts.records.items() if not one.deleted}
        assert listed.keys() == records.keys()
        for number, record in records.items():
            assert self.record(number, listed[number]) == replace(record, invalid=False)
            mebibytes = Fields("blob", "Blob", self.blob(number).get())["mebibytes"]
            assert mebibytes * MEBIBYTE == self.contracts.sizes[number]
        for key, kept in self.contracts.reservations.items():
            _, mebibytes, start, end = self.reservations[key].get()
            now = self.contracts.state.period
            expected = (kept.size_bytes // MEBIBYTE, max(now, kept.start_period), kept.end_period)
            assert (mebibytes, max(now, start), end) == expected
        assert self.reservations.keys() == self.contracts.reservations.keys()
        assert self.booked() == self.taken()

    def record(self, number: int, listed: Fields) -> BlobRecord:
        """Return an object as the ledger tells it, by the object itself and by the list."""
        output = self.transaction.host.outputs[self.objects[number]]
        blob = Fields("blob", "Blob", output.value)
        assert output.owner.id == listed["owner"]
        assert blob["number"] == number
        assert listed["object"] == [self.objects[number]]
        for name in ("blob_id", "end_period", "is_deletable"):
            assert blob[name] == listed[name]
        (certified,) = blob["certified_epoch"]
        return BlobRecord(
            object_id=number,
            blob_id=blob["blob_id"].to_bytes(32, "little"),
            length=blob["length"],
            owner=named(listed["owner"]),
            registered_epoch=blob["registered_epoch"],
            certified_epoch=certified[0] if certified else None,
            end_period=blob["end_period"],
            deletable=blob["is_deletable"],
        )

    def booked(self) -> Counter[int]:
        """Return the mebibytes that are booked in each period from the current one on."""
        accounts = Fields("space", "Space", Fields("blobs", "State", self.state_of(self.blobs))["space"])
        first, current = accounts["open_period"], self.contracts.state.period
        booked = Counter({first + place: one[0] for place, one in enumerate(accounts["accounts"])})
        return Counter({period: size for period, size in booked.items() if size and period >= current})

    def taken(self) -> Counter[int]:
        """Return the mebibytes that reservations and objects have in each period from the current one on."""
        found, current = Counter[int](), self.contracts.state.period
        for one in self.contracts.reservations.values():
            periods = range(max(one.start_period, current), one.end_period)
            found.update(dict.fromkeys(periods, one.size_bytes // MEBIBYTE))
        for number, record in self.contracts.records.items():
            if not record.deleted:
                periods = range(current, record.end_period)
                found.update(dict.fromkeys(periods, self.contracts.sizes[number] // MEBIBYTE))
        return found


def named(account: bytes) -> str:
    return account.hex()
