"""Rows about a health system's own identity providers in the oracle's world."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from domain.identity_providers import IdentityProvider, ProviderTest, SignIn
from domain.second_factors import DeviceReset
from tests import providers

if TYPE_CHECKING:
    from tests.oracle.world import System

DAY = dt.timedelta(days=1)
BEGUN = dt.datetime(2026, 2, 3, 9, 30, tzinfo=dt.UTC)


def rows(system: "System", now: dt.datetime) -> None:
    """Two providers, one of each protocol, and all that hangs on them."""
    asker, nurse = system.people["system_admin"], system.people["nurse"]
    for i, protocol in enumerate(("oidc", "saml")):
        of = providers.provider(
            system.tenant,
            id=system.key(f"provider {protocol}"),
            protocol=protocol,
            name=system.text(f"{protocol} login"),
            state=("active", "draft")[i],
            certificates=[[], ["a certificate", "the next"]][i],
            client_id=("caretree", None)[i],
            attributes={"groups": f"groups{i}", "email": "mail"},
            of_directory=i == 0,
            version=i + 1,
            metadata_url=(None, "https://login.corp.example/metadata")[i],
            metadata_read_at=BEGUN,
            metadata_problem=(None, "It is gone.")[i],
            expires_at=(None, now + 20 * DAY)[i],
        )
        system.add(of)
        key = {"tenant_id": of.tenant_id, "identity_provider_id": of.id}
        came: dict[str, Any] = {"sid": f"sid {i}", "authenticated_at": BEGUN}
        system.add(
            SignIn(
                **key,
                **came,
                id=system.key(f"sign-in {protocol}"),
                person_id=(nurse.id, None)[i],
                subject=system.text("subject"),
                outcome=("admitted", "held")[i],
                cause=(None, "NAME_TAKEN")[i],
                created_at=BEGUN + i * DAY,
            )
        )
        system.add(
            ProviderTest(
                **key,
                id=system.key(f"test {protocol}"),
                started_by=asker.id,
                until=BEGUN + DAY,
                finished_at=(BEGUN, None)[i],
                passed=(True, None)[i],
                steps=[["issuer: passed."], []][i],
                created_at=BEGUN,
            )
        )
        _decided(system, now, i, protocol, of)


def _decided(
    system: "System", now: dt.datetime, i: int, protocol: str, of: IdentityProvider
) -> None:
    """A rule, somebody who was held, a domain, and a lost device."""
    asker, nurse = system.people["system_admin"], system.people["nurse"]
    node = system.units[("system", "n1")[i]]
    system.add(
        providers.rule(
            asker,
            system.text("nurses"),
            "nurse",
            node,
            of,
            id=system.key(f"rule {protocol}"),
            valid_until=system.maybe(now + 100 * DAY),
            created_at=BEGUN + i * DAY,
        )
    )
    system.add(
        providers.held(
            of,
            id=system.key(f"held {protocol}"),
            subject=system.text("held subject"),
            person_id=(None, nurse.id)[i],
            reason=("NOT_KNOWN", "NAME_TAKEN")[i],
            created_at=BEGUN + i * DAY,
        )
    )
    system.add(
        providers.domain(
            of,
            f"{protocol}.{system.slug}.example",
            id=system.key(f"domain {protocol}"),
            proven_at=BEGUN,
            checked_at=now,
        )
    )
    states: tuple[dict[str, Any], ...] = (
        {"state": "pending"},
        {
            **{"state": "declined", "decided_at": now},
            "decided_by": system.people["privacy_officer"].id,
        },
    )
    system.add(
        DeviceReset(
            tenant_id=of.tenant_id,
            id=system.key(f"reset {protocol}"),
            person_id=nurse.id,
            requested_by=asker.id,
            reason=system.text("lost"),
            lapses_at=now + DAY,
            created_at=BEGUN + i * DAY,
            updated_at=now,
            **states[i],
        )
    )
