"""Two health systems, an API over them as it is served, and everybody whom a test asks for by `role@place`.

system ── r ── a ── a1, a2
       │    └─ b ── b1
       └─ q ── c ── c1
"""

import asyncio
import datetime as dt
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr
from sqlalchemy import create_engine, insert

from api.context import Context
from api.http.graphql import GraphQLEndpoint, Ports
from api.schema import build_schema
from api.settings import Settings
from api.wiring import Wiring, wired
from authz.actor import Actor
from domain.control import IdentityCluster, TenantEntry
from domain.model import Base
from domain.organization import OrgUnit, Tenant
from domain.patients import Patient
from domain.people import Person
from domain.practitioners import Practitioner
from tests import make
from tests.database import Database, sqlalchemy_url
from tests.identity.forge import Authority, KeyServer, served

TABLES = sorted(t.name for t in Base.metadata.sorted_tables if "tenant_id" in t.c)
PLACES = {"a": ("a1", "a2"), "b": ("b1",), "c": ("c1",)}
SECRET = "Zyxwvutson"
"""A part of every patient's family name: it must turn up nowhere but in patients' own rows."""
_numbers = itertools.count(1)


class System:
    """A health system: its units by name, and its people by the roles that they hold."""

    def __init__(self, database: Database, authority: Authority) -> None:
        self.database = database
        self.authority = authority
        self.tenant: Tenant = make.tenant(tenant_id=authority.tenant_id, currency="USD")
        self.units: dict[str, OrgUnit] = {}
        self._unit("system", None, "system")
        for region in ("r", "q"):
            self._unit(region, "system", "region")
        for clinic, departments in PLACES.items():
            self._unit(clinic, "q" if clinic == "c" else "r", "clinic")
            for department in departments:
                self._unit(department, clinic, "department")
        self.people: dict[tuple[str, ...], Person] = {}
        self.practitioners: dict[uuid.UUID, Practitioner] = {}
        self.engine = create_engine(sqlalchemy_url(database.owner_url), pool_size=1)
        self.save(self.tenant, *self.units.values())

    def _unit(self, name: str, above: str | None, level: str) -> None:
        parent = self.units[above] if above else None
        self.units[name] = make.unit(self.tenant, parent, level, name=name)

    def save(self, *rows: Base) -> None:
        with self.engine.begin() as connection:
            make.save(connection, *rows)

    def unit(self, name: str) -> str:
        """The opaque id of a unit."""
        return f"OrgUnit:{self.units[name].id}"

    def person(self, *held: str, fresh: bool = False) -> Person:
        """Somebody who holds these roles (`nurse@a`) and is a practitioner. `fresh`: nobody else asks for them."""
        found = self.people.get(held)
        if found is not None and not fresh:
            return found
        who = make.person(self.tenant)
        grants = [
            make.grant(who, role, self.units[place]) for role, _, place in map(split, held) if place
        ]
        doctor = make.practitioner(self.tenant, who)
        self.save(who, *grants, doctor)
        self.practitioners[who.id] = doctor
        if not fresh:
            self.people[held] = who
        return who

    def token(self, who: Person, **claims: Any) -> str:
        return self.authority.token(None, sub=who.subject, amr=["pwd", "otp"], acr="2", **claims)

    def patient(self, *places: str, **values: Any) -> Patient:
        """A patient who is seen there; saved."""
        named = {"family_name": f"{SECRET}{next(_numbers)}", "mrn": f"X{next(_numbers)}"}
        rows = make.patient_at(self.tenant, *(self.units[p] for p in places), **named | values)
        self.save(*rows)
        found = rows[0]
        assert isinstance(found, Patient)
        return found

    def doctor(self, *places: str) -> Practitioner:
        """A practitioner who can be booked at the places; saved."""
        made = make.practitioner(self.tenant)
        bookable = make.bookable(made)
        assigned = [make.assignment(bookable, self.units[place]) for place in places]
        self.save(made, bookable, *assigned)
        return made


def split(held: str) -> tuple[str, str, str]:
    role, at, place = held.partition("@")
    return role, at, place


@dataclass
class Answer:
    """What came back: the whole body, and the id of the request."""

    body: dict[str, Any]
    request_id: uuid.UUID
    status: int

    @property
    def data(self) -> Any:
        """The root field's value."""
        (value,) = (self.body.get("data") or {None: None}).values()
        return value

    @property
    def error(self) -> dict[str, Any]:
        """The extensions of the only error, or nothing."""
        errors = self.body.get("errors") or [{"extensions": {}}]
        assert len(errors) == 1, errors
        extensions: dict[str, Any] = errors[0]["extensions"]
        return extensions

    @property
    def user_error(self) -> dict[str, Any]:
        """The only user error, or nothing."""
        payload = self.data if isinstance(self.data, dict) else {}
        told: list[dict[str, Any]] = payload.get("userErrors") or []
        assert len(told) <= 1
        return told[0] if told else {}

    @property
    def outcome(self) -> str:
        """DONE, the code of the error, or the code of the user error."""
        return str(self.error.get("code") or self.user_error.get("code") or "DONE")


@dataclass
class Office:
    """The API and its two health systems."""

    database: Database
    here: System
    there: System
    wiring: Wiring
    endpoint: GraphQLEndpoint
    http: httpx.AsyncClient
    owner: psycopg.Connection[Any]  # commits each statement
    contexts: list[Context] = field(default_factory=list)
    targets: dict[tuple[str, str], Any] = field(default_factory=dict)  # by mutation and place

    async def ask(
        self, who: Person, text: str, variables: Mapping[str, Any] | None = None, **claims: Any
    ) -> Answer:
        """Send an operation as somebody."""
        system = self.here if who.tenant_id == self.here.tenant.tenant_id else self.there
        body = json.dumps({"query": text, "variables": dict(variables or {})})
        return await self.send(body.encode(), system.token(who, **claims))

    async def send(self, body: bytes, token: str) -> Answer:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        response = await self.http.post("/", content=body, headers=headers)
        request_id = uuid.UUID(response.headers["x-request-id"])
        return Answer(response.json(), request_id, response.status_code)

    async def do(self, who: Person, mutation: str, select: str = "", **given: Any) -> Answer:
        """Carry out a mutation by name; `select` is what to answer of its object."""
        return await self.ask(who, document(mutation, select), {"input": given})

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        """Rows as the owner sees them."""
        cursor = self.owner.cursor(row_factory=dict_row)
        return cursor.execute(text, values).fetchall()

    def change(self, text: str, *values: Any) -> None:
        """A change as the owner makes it."""
        self.owner.execute(text, values)

    async def set_variant(self, system: System, variant: str) -> None:
        """Change the policy's variant; everybody's next request is the one that notices."""
        text = "update tenant set policy_variant = %s, version = version + 1 where tenant_id = %s"
        self.change(text, variant, system.tenant.tenant_id)
        for who in system.people.values():
            await self.ask(who, "{ viewer { me { id } } }")

    def snapshot(self) -> dict[str, str]:
        """Every table with a digest of what both health systems have in it; not what was denied, nor who has come.

        A row's transaction number grows by every write, so that the same number of rows and the same sum mean that
        nothing was inserted, changed or deleted, at a third of the cost of hashing what the rows hold.
        """
        part = (
            "select '{0}' as name, count(*) || ' ' || coalesce(sum({1}), 0) as digest"
            " from {0} t where tenant_id = any(%(ids)s){2}"
        )
        # That somebody has shown a second factor is noted when they come.
        values = "hashtextextended((to_jsonb(t) - 'second_factor_at')::text, 0)::numeric"
        further = {"audit_event": " and outcome <> 'denied'"}
        text = " union all ".join(
            part.format(
                table,
                values if table == "person" else "xmin::text::bigint",
                further.get(table, ""),
            )
            for table in TABLES
        )
        ids = [self.here.tenant.tenant_id, self.there.tenant.tenant_id]
        rows = self.owner.execute(text, {"ids": ids}, prepare=True).fetchall()
        return {name: digest for name, digest in rows if name != "login_session"}

    def recorded(self) -> int:
        """How many audit events both health systems have."""
        ids = [self.here.tenant.tenant_id, self.there.tenant.tenant_id]
        (found,) = self.query("select count(*) from audit_event where tenant_id = any(%s)", ids)
        return int(found["count"])

    def events(self, known: int = 0) -> list[dict[str, Any]]:
        """The audit events of both health systems, oldest first, but for so many."""
        ids = [self.here.tenant.tenant_id, self.there.tenant.tenant_id]
        text = (
            "select * from audit_event where tenant_id = any(%s) order by recorded_at, id offset %s"
        )
        return self.query(text, ids, known)

    async def waiting(self) -> int:
        """The process id of a backend that waits for a lock in this database, as soon as there is one."""
        text = (
            "select l.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid"
            " where not l.granted and a.datname = current_database()"
        )
        for _ in range(400):
            found = self.query(text)
            if found:
                return int(found[0]["pid"])
            await asyncio.sleep(0.01)
        raise AssertionError("nobody waits")


OBJECTS = {
    "registerPatient": "patient",
    "updatePatient": "patient",
    "admitPatient": "patient",
    "addPatientSite": "patient",
    "startEncounter": "encounter",
    "finishEncounter": "encounter",
    "writeNote": "note",
    "signNote": "note",
    **dict.fromkeys(("arriveEncounter", "progressEncounter", "cancelEncounter"), "encounter"),
    **dict.fromkeys(("reviseNote", "amendNote", "cosignNote"), "note"),
    "recordObservations": "observations",
    "updateObservation": "observation",
    "correctObservation": "observation",
    **dict.fromkeys(("recordCondition", "updateCondition"), "condition"),
    **dict.fromkeys(("recordAllergy", "updateAllergy"), "allergy"),
    **dict.fromkeys(("orderMedication", "updateMedicationRequest"), "medicationRequest"),
    "recordMedicationStatement": "medicationStatement",
    "updateMedicationStatement": "medicationStatement",
    **dict.fromkeys(("recordProcedure", "updateProcedure"), "procedure"),
    "recordImmunization": "immunization",
    "markEnteredInError": "record",
    "bookAppointment": "appointment",
    "rescheduleAppointment": "appointment",
    "cancelAppointment": "appointment",
    "checkInAppointment": "appointment",
    "recordPayment": "receipt",
    "recordCharge": "charge",
    "codeCharge": "charge",
    "voidCharge": "charge",
    "issueInvoice": "invoice",
    "cancelInvoice": "invoice",
    "setPrice": "entry",
    "endPrice": "entry",
    **dict.fromkeys(("addPayer", "changePayer"), "payer"),
    "recordCoverage": "coverage",
    "changeCoverage": "coverage",
    "createClaim": "claim",
    "queueClaim": "claim",
    "recodeClaim": "claim",
    "cancelClaim": "claim",
    "fileClaim": "claim",
    "rejectClaim": "claim",
    "adjudicateClaim": "claim",
    "settleClaim": "claim",
    "adjustAccount": "posting",
    "transferCredit": "posting",
    "correctPosting": "posting",
    "allocatePosting": "posting",
    "closeDay": "dailyClose",
    "holdAppointment": "appointment",
    "confirmAppointment": "appointment",
    "overbookAppointment": "appointment",
    "noShowAppointment": "appointment",
    "bookAppointmentSeries": "series",
    "cancelAppointmentSeries": "appointment",
    "moveAppointmentSeries": "appointment",
    "joinWaitlist": "entry",
    "offerFromWaitlist": "entry",
    "acceptWaitlistOffer": "entry",
    "declineWaitlistOffer": "entry",
    "leaveWaitlist": "entry",
    "addHealthcareService": "service",
    "changeHealthcareService": "service",
    "addScheduleRule": "rule",
    "changeScheduleRule": "rule",
    "addScheduleClosure": "closure",
    "withdrawScheduleClosure": "closure",
    "addReminderRule": "rule",
    "changeReminderRule": "rule",
    "setReminderSettings": "settings",
    "setReminderWebhook": "settings",
    "setReminderTemplate": "template",
    "withdrawReminderTemplate": "template",
    "giveGrant": "grant",
    "extendGrant": "grant",
    "revokeGrant": "grant",
    "requestGrant": "request",
    "approveGrant": "grant",
    "declineGrant": "request",
    "createPerson": "person",
    "createPractitioner": "practitioner",
    "updatePractitioner": "practitioner",
    "linkPractitioner": "practitioner",
    "createBookableResource": "resource",
    "updateBookableResource": "resource",
    "assignResource": "resource",
    "unassignResource": "resource",
    "createOrgUnit": "orgUnit",
    "importOrganization": "orgUnit",
    "importPeople": "orgUnit",
    "renameOrgUnit": "orgUnit",
    "moveClinic": "orgUnit",
    "closeOrgUnit": "orgUnit",
    "updatePerson": "person",
    "deactivatePerson": "person",
    "reactivatePerson": "person",
    **dict.fromkeys(
        (
            "addIdentityProvider",
            "updateIdentityProvider",
            "activateIdentityProvider",
            "suspendIdentityProvider",
        ),
        "identityProvider",
    ),
    "testIdentityProvider": "test",
    **dict.fromkeys(("addRoleMapping", "endRoleMapping", "takeOverRoleMapping"), "roleMapping"),
    "syncPerson": "person",
    **dict.fromkeys(("linkHeldAccount", "createHeldAccount", "dismissHeldAccount"), "heldAccount"),
    "exemptIdentityProvider": "identityProvider",
    **dict.fromkeys(
        ("requestDeviceReset", "approveDeviceReset", "declineDeviceReset"), "deviceReset"
    ),
    **dict.fromkeys(("addEmailDomain", "checkEmailDomain"), "emailDomain"),
    **dict.fromkeys(("addScimToken", "rotateScimToken", "revokeScimToken"), "scimToken"),
    "releaseScimDepartures": "scimRelease",
    "checkRealm": "realmCheck",
}
"""Mutation -> the field of its payload."""
INPUTS = {
    "arriveEncounter": "ChangeEncounterInput",
    "cancelEncounter": "ChangeEncounterInput",
    **dict.fromkeys(("queueClaim", "cancelClaim", "fileClaim", "settleClaim"), "MoveClaimInput"),
    **dict.fromkeys(("recodeClaim", "rejectClaim"), "ReturnClaimInput"),
    **dict.fromkeys(("approveDeviceReset", "declineDeviceReset"), "DecideDeviceResetInput"),
    "cancelAppointment": "ChangeAppointmentInput",
    "checkInAppointment": "ChangeAppointmentInput",
    "confirmAppointment": "ChangeAppointmentInput",
    "cancelAppointmentSeries": "ChangeAppointmentInput",
    "acceptWaitlistOffer": "ChangeWaitlistEntryInput",
    "declineWaitlistOffer": "ChangeWaitlistEntryInput",
    "leaveWaitlist": "ChangeWaitlistEntryInput",
    "noShowAppointment": "ChangeAppointmentInput",
    "overbookAppointment": "BookAppointmentInput",
    "requestGrant": "GiveGrantInput",
    "approveGrant": "DecideGrantRequestInput",
    "declineGrant": "DecideGrantRequestInput",
    "deactivatePerson": "ChangePersonInput",
    "reactivatePerson": "ChangePersonInput",
    **dict.fromkeys(
        ("testIdentityProvider", "activateIdentityProvider", "suspendIdentityProvider"),
        "ChangeIdentityProviderInput",
    ),
}


def document(mutation: str, select: str = "") -> str:
    """The text of a mutation that answers the object's id (and more), and what is to be mended."""
    input_type = INPUTS.get(mutation, f"{mutation[0].upper()}{mutation[1:]}Input")
    return (
        f"mutation($input: {input_type}!) {{ {mutation}(input: $input) {{"
        f" {OBJECTS[mutation]} {{ id {select} }} userErrors {{ code message path }} }} }}"
    )


def soon(hours: float = 24) -> dt.datetime:
    """A full hour of a coming day."""
    whole = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    return whole + dt.timedelta(days=2, hours=hours)


def local(node: str) -> uuid.UUID:
    """The row's id in an opaque id."""
    return uuid.UUID(node.partition(":")[2])


@asynccontextmanager
async def opened(database: Database, redis_url: str, folder: Path) -> AsyncIterator[Office]:
    """Open the API over two new health systems."""
    async with served() as keys:
        first = Authority(tenant_id=uuid.uuid4(), now=lambda: int(time.time()))
        second = replace(first, tenant_id=uuid.uuid4())
        for authority in (first, second):
            register(database, keys, authority)
        keys.body = first.key_set()
        here, there = System(database, first), System(database, second)
        settings = Settings(
            database_url=SecretStr(database.app_url),
            redis_url=SecretStr(redis_url),
            key_file=folder / "keys.json",
            connections=2,
            statement_seconds=20,  # of a busy machine
            refusals=10_000,  # one person is refused by many tests
        )
        async with wired(settings) as wiring:
            for system in (here, there):
                await wiring.keyring.create(system.tenant.tenant_id)
                await wiring.keyring.of(system.tenant.tenant_id)  # makes its keys at the first use
            contexts: list[Context] = []

            def context(actor: Actor, request_id: uuid.UUID) -> Context:
                contexts.append(wiring.context(actor, request_id))
                return contexts[-1]

            endpoint = GraphQLEndpoint(
                build_schema(), lambda: Ports(wiring.actors.actor, context), deadline=20
            )
            transport = httpx.ASGITransport(endpoint)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                # Statements over all tables are planned once: planning is dearer than a look at few rows.
                planned_once = database.url("caretree_owner", "plan_cache_mode=force_generic_plan")
                with psycopg.connect(planned_once, autocommit=True) as owner:
                    yield Office(database, here, there, wiring, endpoint, http, owner, contexts)
        for system in (here, there):
            system.engine.dispose()


def register(database: Database, keys: KeyServer, authority: Authority) -> None:
    """Make the authority known as the issuer of its health system."""
    base = keys.url.removesuffix("/certs")
    realm, cluster = f"o{authority.tenant_id.hex[:14]}", uuid.uuid4()
    authority.issuer = f"{base}/realms/{realm}"
    with database.owner_engine.begin() as connection:
        connection.execute(
            insert(IdentityCluster).values(
                id=cluster, name=str(cluster), region="nowhere", url=base, public_url=base
            )
        )
        connection.execute(
            insert(TenantEntry).values(
                id=authority.tenant_id,
                slug=f"s{cluster.hex[:12]}",
                cell="main",
                region="nowhere",
                identity_cluster_id=cluster,
                realm=realm,
                issuer=authority.issuer,
                state="active",
            )
        )
