"""Operators of the platform: the realm in which they log in, their accounts, and who a token of theirs stands for.

The realm is made of the same template by the same call as a health system's. An operator is no `Actor`: they belong to
no health system, hold no grant and pass no door behind which patients are.
"""

import asyncio
import datetime as dt
import secrets
import string
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.control import IdentityCluster
from domain.model import new_id
from domain.operators import Operator as Operators
from domain.operators import OperatorRealm
from domain.organization import MfaPolicy
from domain.plain_text import name
from identity.errors import IdentityUnavailable, MfaRequired, NotAdmitted
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Conflict
from identity.keys import KeyCache
from identity.mfa import MfaRule
from identity.provisioning import known_as
from identity.realms import ADMIN_PORTAL, SERVICE_ACCOUNTS, RealmPlan, provision
from identity.registry import keys_url
from identity.sync import FirstLogin, set_first_login
from identity.tenants import NoRoom, Platform, drawn_password
from identity.tokens import Issuer, Tokens

_OPAQUE = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Operator:
    """Who operates: a person of the platform, without a tenant, a tree or a grant."""

    id: UUID
    user_name: str
    expires_at: dt.datetime


async def ensure_realm(platform: Platform, *, region: str) -> OperatorRealm:
    """The operators' realm, made on the region's first cluster or finished. Raises NoRoom, KeycloakFailure."""
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        entry = await session.scalar(select(OperatorRealm))
        if entry is None:
            query = select(IdentityCluster).where(IdentityCluster.region == region)
            cluster = await session.scalar(query.order_by(IdentityCluster.name).limit(1))
            if cluster is None:
                raise NoRoom("There is no identity cluster in this region.")
            await session.execute(_new_realm(cluster))
            entry = (await session.scalars(select(OperatorRealm))).one()
    realm, plan = await planned(platform, entry)
    await provision(realm, plan)
    return entry


def _new_realm(cluster: IdentityCluster) -> Insert:
    """Its row unless there is one: of two calls at once the first draws the name."""
    realm = "o" + "".join(secrets.choice(_OPAQUE) for _ in range(15))
    return (
        insert(OperatorRealm)
        .values(
            id=new_id(),
            identity_cluster_id=cluster.id,
            realm=realm,
            issuer=f"{cluster.public_url}/realms/{realm}",
        )
        .on_conflict_do_nothing(index_elements=["single"])
    )


async def planned(platform: Platform, entry: OperatorRealm) -> tuple[Realm, RealmPlan]:
    """The operators' realm as the provisioning client, and what it shall be: a second factor for everybody.

    Nobody works there by a service account, so their secrets are drawn and forgotten.
    """
    async with AsyncSession(platform.control) as session:
        cluster = await session.get_one(IdentityCluster, entry.identity_cluster_id)
    portals = platform.portals
    plan = RealmPlan(
        name=entry.realm,
        tenant_id=entry.id,
        mfa=MfaPolicy.ALL,
        portal_redirects=portals.admin_redirects,
        admin_redirects=portals.admin_redirects,
        backchannel_logout=f"{portals.backchannel_logout}/{entry.realm}",
        secrets={account: secrets.token_urlsafe(32) for account in SERVICE_ACCOUNTS},
        otp_code_reusable=platform.codes_serve_twice,
    )
    return await platform.accounts.as_master(cluster.url, entry.realm), plan


@dataclass(frozen=True)
class NewOperator:
    """Somebody who is to operate the platform."""

    user_name: str
    given_name: str
    family_name: str


async def add_operator(
    platform: Platform, draft: NewOperator, login: FirstLogin | None = None
) -> str | None:
    """Make an operator who can log in; answer a temporary password where one was drawn.

    Safe to repeat: whoever is there keeps what they log in with. Raises Invalid, LookupError without a realm,
    KeycloakFailure.
    """
    user_name = known_as(draft.user_name)
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        entry = await session.scalar(select(OperatorRealm))
        if entry is None:
            raise LookupError("There is no realm of operators yet.")
        await session.execute(
            insert(Operators)
            .values(
                id=new_id(),
                user_name=user_name,
                given_name=name(draft.given_name, "givenName"),
                family_name=name(draft.family_name, "familyName"),
            )
            .on_conflict_do_nothing(index_elements=["user_name"])
        )
        query = select(Operators).where(Operators.user_name == user_name)
        operator = (await session.scalars(query)).one()
    realm, _ = await planned(platform, entry)
    subject = await _user(realm, operator)
    drawn = None
    if login is None and operator.subject is None:
        drawn = drawn_password()
        login = FirstLogin(drawn)
    if login is not None:
        await set_first_login(realm, subject, login)
    async with platform.control.begin() as connection:
        await connection.execute(
            update(Operators).where(Operators.id == operator.id).values(subject=subject)
        )
    return drawn


async def _user(realm: Realm, operator: Operators) -> str:
    wanted: Json = {
        "username": operator.user_name,
        "firstName": operator.given_name,
        "lastName": operator.family_name,
        "enabled": operator.active,
        "attributes": {"person_id": [str(operator.id)]},
    }
    try:
        return await realm.create_user(wanted)
    except Conflict:
        found = await realm.find_user(operator.user_name)
        if found is None:
            raise
        return str(found["id"])


async def remove_operator(platform: Platform, user_name: str) -> None:
    """Cut an operator off at once, then remove their user. Raises LookupError, KeycloakFailure."""
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        operator = await session.scalar(
            update(Operators)
            .where(Operators.user_name == user_name)
            .values(active=False, tokens_valid_from=dt.datetime.now(dt.UTC))
            .returning(Operators)
        )
        entry = await session.scalar(select(OperatorRealm))
    if operator is None or entry is None:
        raise LookupError("There is no such operator.")
    realm, _ = await planned(platform, entry)
    found = await realm.find_user(user_name)
    if found is not None:
        await realm.end_sessions(found["id"])
        await realm.update_user({**found, "enabled": False})


class OperatorIssuer:
    """The one issuer whose tokens open the platform. Health systems' are unknown here, as this one is to theirs."""

    def __init__(self, control: AsyncEngine) -> None:
        self._control = control
        self._known: Issuer | None = None

    async def issuer(self, text: str) -> Issuer | None:
        """The operators' issuer, where it is exactly this text. Raises IdentityUnavailable."""
        if self._known is None:
            query = select(OperatorRealm, IdentityCluster.url).join(
                IdentityCluster, IdentityCluster.id == OperatorRealm.identity_cluster_id
            )
            try:
                async with AsyncSession(self._control) as session:
                    row = (await session.execute(query)).one_or_none()
            except (SQLAlchemyError, OSError):
                raise IdentityUnavailable("The registry") from None
            if row is None:
                return None
            realm, url = row
            self._known = Issuer(
                issuer=realm.issuer,
                tenant_id=realm.id,
                keys_url=keys_url(url, realm.realm),
                clients=frozenset({ADMIN_PORTAL}),
            )
        return self._known if self._known.issuer == text else None


class OperatorLoader:
    """Answers which operator a bearer token stands for; asks the control plane at each request."""

    def __init__(self, control: AsyncEngine, keys: KeyCache) -> None:
        self._control = control
        self._tokens = Tokens(OperatorIssuer(control), keys)

    async def operator(self, bearer: str) -> Operator:
        """The operator. Raises TokenRefused, NotAdmitted, MfaRequired, IdentityUnavailable."""
        token = await self._tokens.verify(bearer)
        query = select(Operators).where(Operators.subject == token.subject, Operators.active)
        try:
            async with asyncio.timeout(5), AsyncSession(self._control) as session:
                found = await session.scalar(query)
        except (SQLAlchemyError, OSError):
            raise IdentityUnavailable("The control plane") from None
        issued_at = dt.datetime.fromtimestamp(token.issued_at, dt.UTC)
        if found is None or (found.tokens_valid_from and issued_at < found.tokens_valid_from):
            raise NotAdmitted()
        if not MfaRule(MfaPolicy.ALL).is_shown(token.acr, token.amr):
            raise MfaRequired()
        ends = dt.datetime.fromtimestamp(token.expires_at, dt.UTC)
        return Operator(found.id, found.user_name, ends)
