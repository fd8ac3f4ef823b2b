"""The shared object that all others go by: what it is created with, and what governor and guardian may do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from committee.ledger import Parameters
from localnet.sui_double.stored import Owner, OwnerKind
from tests.contracts.sui.deployments import (
    BEGIN_S,
    BOND,
    CHAIN,
    DOMAIN,
    EVIDENCE_S,
    SUPPLY,
    TERMS,
    USUAL,
    WINDOWS,
    Deployment,
    id_of,
)
from tests.contracts.sui.double import Refused
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

REGISTRATION = 0
"""The number of the function that registers nodes."""
PAUSE_S = 4 * 24 * 3600


class System(Deployment):
    """A deployment with its system."""

    def call_system(self, name: str, *arguments: Any) -> Any:
        return self.call("system", name, self.system, *arguments)

    def is_open(self) -> bool:
        try:
            self.call_system("check_open", REGISTRATION, self.clock)
        except Refused as refused:
            assert str(refused) == "EPaused"
            return False
        return True


def test_deployment_shares_its_objects_and_tells_what_it_is_made_of() -> None:
    deployment = System()
    outputs = deployment.transaction.host.outputs.values()
    shared = {one.type.name for one in outputs if one.owner == Owner(OwnerKind.SHARED)}
    assert shared == {"System", "Registry", "Staking", "Blobs", "Ballot", "Proofs", "Random"}, "and Sui's own"
    parameters = deployment.parameters(USUAL)
    told = dict(deployment.events())
    assert told["RegistryCreated"] == [id_of(deployment.registry.get())]
    assert told["BlobsCreated"] == [id_of(deployment.blobs.get()), deployment.terms(TERMS)]
    assert told["StakingCreated"] == [id_of(deployment.staking.get()), SUPPLY, EVIDENCE_S]
    assert told["GuardianChanged"] == [[[id_of(deployment.guardian)]]]
    governor = id_of(deployment.governor)
    assert told["SystemCreated"] == [
        id_of(deployment.system.get()), DOMAIN, 10, parameters, [0, 0, 0], governor, BEGIN_S,
    ]  # fmt: skip
    assert deployment.call_system("domain") == DOMAIN
    assert deployment.call_system("parameters") == parameters
    assert [deployment.call_system(name) for name in ("epoch", "period", "electable_period")] == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"chain": CHAIN[:4]}, "EInvalidChain"),
        ({"n_shards": 3}, "EInvalidShardCount"),
        ({"n_shards": 1001}, "EInvalidShardCount"),
        ({"window_s": 90 * 24 * 3600 + 1}, "EInvalidEvidenceWindow"),
        ({"supply": 0}, "ENoSupply"),
    ],
)
def test_deployment_of_what_is_invalid_is_refused(change: dict[str, Any], error: str) -> None:
    deployment = System()
    given: dict[str, Any] = {"chain": CHAIN, "n_shards": 10, "window_s": 0, "supply": 1} | change
    with pytest.raises(Refused, match=f"^{error}$"):
        deployment.call(
            "deployment",
            "create",
            deployment.founder,
            [deployment.treasury[0], [given["supply"]]],
            given["chain"],
            given["n_shards"],
            deployment.parameters(USUAL),
            deployment.call("parameters", "new_opening", 0, 0, 0),
            deployment.terms(TERMS),
            deployment.call("proofs", "new_windows", *WINDOWS),
            BOND,
            given["window_s"],
            deployment.clock,
        )


YEAR_S = 365 * 24 * 3600


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"period_duration_s": 0}, "EInvalidPeriodDuration"),
        ({"period_duration_s": YEAR_S + 1}, "EInvalidPeriodDuration"),
        ({"handover_deadline_s": 0}, "EInvalidHandoverDeadline"),
        ({"handover_deadline_s": YEAR_S + 1}, "EInvalidHandoverDeadline"),
        ({"patience_s": 0}, "EInvalidPatience"),
        ({"patience_s": YEAR_S + 1}, "EInvalidPatience"),
        ({"certificate_grace_s": 1001}, "EInvalidCertificateGrace"),
        ({"notice_s": 1001}, "EInvalidNotice"),
        ({"shrink_s": 3999}, "EInvalidShrinkDuration"),
        ({"shrink_s": 1 << 32}, "EInvalidShrinkDuration"),
        ({"band_millis": 1001}, "EInvalidBand"),
    ],
)
def test_parameter_out_of_bounds_is_refused(change: dict[str, Any], error: str) -> None:
    with pytest.raises(Refused, match=f"^{error}$"):
        System(replace(USUAL, **change))


def test_parameters_at_their_bounds_are_taken() -> None:
    System(Parameters(4, YEAR_S, YEAR_S, YEAR_S, 1000, DOMAIN, YEAR_S, YEAR_S, 4 * YEAR_S))
    deployment = System(
        Parameters(1000, 12, 1, 1, 0, DOMAIN, 0, 0, 48), opening=(100, 1 << 63, YEAR_S), windows=(1, 0, 1, 2)
    )
    deployment.parameters(Parameters(1000, 1, 1, 1, 0, DOMAIN, 0, 0, 4))
    with pytest.raises(Refused, match=r"^EInvalidOpening$"):
        System(opening=(0, 0, YEAR_S + 1))


TIMES = {
    "period_duration_s": "EInvalidPeriodDuration",
    "handover_deadline_s": "EInvalidHandoverDeadline",
    "patience_s": "EInvalidPatience",
    "certificate_grace_s": "EInvalidCertificateGrace",
    "notice_s": "EInvalidNotice",
    "shrink_s": "EInvalidShrinkDuration",
}


def test_governor_changes_the_parameters_of_the_next_period() -> None:
    deployment = System()
    times = {name: getattr(USUAL, name) for name in TIMES}
    twice: dict[str, Any] = {name: 2 * time_s for name, time_s in times.items()}
    half: dict[str, Any] = {name: time_s // 2 for name, time_s in times.items()}
    for given in (twice, half):
        changed = deployment.parameters(replace(USUAL, **given))
        deployment.call_system("set_parameters", deployment.governor, changed)
        assert deployment.events()[-1] == ("ParametersChanged", [1, changed])
    assert deployment.call_system("parameters") == deployment.parameters(USUAL), "until the period begins"


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("factor", [0.4, 2.1])
def test_governor_makes_no_time_more_than_twice_or_less_than_half(name: str, factor: float) -> None:
    deployment = System()
    change: dict[str, Any] = {name: int(factor * getattr(USUAL, name))}
    given = deployment.parameters(replace(USUAL, **change))
    with pytest.raises(Refused, match=f"^{TIMES[name]}$"):
        deployment.call_system("set_parameters", deployment.governor, given)


def test_guardian_pauses_a_function_once() -> None:
    deployment = System()
    assert deployment.is_open()
    deployment.call_system("pause", deployment.guardian, REGISTRATION, deployment.clock)
    assert deployment.events()[-1] == ("PauseChanged", [REGISTRATION, BEGIN_S + PAUSE_S])
    deployment.time_s += PAUSE_S - 1
    assert not deployment.is_open()
    deployment.time_s += 1
    assert deployment.is_open(), "a pause ends by itself"
    with pytest.raises(Refused, match=r"^EPauseUsedUp$"):
        deployment.call_system("pause", deployment.guardian, REGISTRATION, deployment.clock)


def test_guardian_ends_its_pause_and_has_none_left() -> None:
    deployment = System()
    deployment.call_system("pause", deployment.guardian, REGISTRATION, deployment.clock)
    deployment.call_system("unpause", deployment.guardian, REGISTRATION)
    assert deployment.is_open()
    with pytest.raises(Refused, match=r"^EPauseUsedUp$"):
        deployment.call_system("pause", deployment.guardian, REGISTRATION, deployment.clock)


def test_governor_pauses_longer_and_lets_the_guardian_pause_again() -> None:
    deployment = System()
    deployment.call_system("pause", deployment.guardian, REGISTRATION, deployment.clock)
    deployment.time_s += PAUSE_S // 2
    deployment.call_system("pause_as_governor", deployment.governor, REGISTRATION, deployment.clock)
    deployment.time_s += PAUSE_S - 1
    assert not deployment.is_open()
    deployment.call_system("unpause_as_governor", deployment.governor, REGISTRATION)
    assert deployment.is_open()
    deployment.call_system("pause", deployment.guardian, REGISTRATION, deployment.clock)
    assert not deployment.is_open()


def test_replaced_guardian_pauses_nothing() -> None:
    deployment = System()
    second = deployment.call_system("replace_guardian", deployment.governor)
    for name, *more in (("pause", deployment.clock), ("unpause",)):
        with pytest.raises(Refused, match=r"^ENotGuardian$"):
            deployment.call_system(name, deployment.guardian, REGISTRATION, *more)
    deployment.call_system("pause", second, REGISTRATION, deployment.clock)
    deployment.call_system("remove_guardian", deployment.governor)
    assert deployment.events()[-1] == ("GuardianChanged", [[[]]])
    with pytest.raises(Refused, match=r"^ENotGuardian$"):
        deployment.call_system("unpause", second, REGISTRATION)


@pytest.mark.parametrize(("name", "cap"), [("pause", "guardian"), ("pause_as_governor", "governor")])
def test_other_functions_cannot_be_paused(name: str, cap: str) -> None:
    deployment = System()
    with pytest.raises(Refused, match=r"^ENotPausable$"):
        deployment.call_system(name, getattr(deployment, cap), 255, deployment.clock)


def test_no_certificate_counts_before_the_first_epoch() -> None:
    deployment = System()
    for epoch in (0, 1, 2**32 - 1):
        assert not deployment.call_system("accepts", epoch, deployment.clock)
        assert not deployment.call_system("accepts_period", epoch, deployment.clock)
        with pytest.raises(Refused, match=r"^EWrongEpoch$"):
            deployment.call_system("verify", epoch, 1, b"", b"", b"", deployment.clock)


def test_system_of_another_version_is_refused() -> None:
    deployment = System()
    deployment.system.get()[1] = 2
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        deployment.call_system("domain")
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        deployment.call_system("remove_guardian", deployment.governor)
