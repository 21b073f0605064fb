"""Patients who wait for a time, and the times that are offered to them."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.alternatives import offering
from api.graph.appointments import Appointment
from api.graph.booking import rooms_of
from api.graph.encounters import local_id
from api.graph.organization import OrgUnit, node_argument, unit_of
from api.graph.patients import Patient, patient_of
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, Within, root, value_type
from api.graph.schedules import HealthcareService, service_of
from api.plan.fetch import page
from api.plan.mapping import (
    column,
    computed,
    enum_name,
    joined,
    one,
    parse_id,
    table,
)
from api.plan.page import Listing
from api.plan.write import Payload, Work, driver, perform, perform_on
from domain.appointments import Booking, WaitlistState
from domain.appointments import WaitlistEntry as Entries
from domain.appointments.waitlist import accept, decline, join_waitlist, offer, withdraw
from domain.errors import NotFound
from identity.calendar import defer_release

BOOK = "appointment:book"
ENTRY = Payload("entry", "WaitlistEntry", model=Entries)
LISTING = Listing(Entries, "appointment", "created_at", Entries)
strawberry.enum(WaitlistState, name="WaitlistState", description="Where somebody who waits stands.")


@table(Entries, description="A patient who waits for a time.")
class WaitlistEntry(Node):
    state: WaitlistState | None = computed(
        "read", "Where they stand.", lambda entry, *_: enum_name(entry.state)
    )
    minutes: int | None = column("read", "How long the visit takes.")
    priority: int | None = column("read", "0 to 9; 9 comes first.")
    earliest_on: dt.date | None = column("read", "The first day that suits.")
    latest_on: dt.date | None = column("read", "The last day that suits.")
    reason: str | None = column("read_scheduling", "Why the patient comes.")
    created_at: dt.datetime | None = column("read", "Since when they wait.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """Who waits."""

    @one("read", practitioner_of)
    def practitioner(self) -> Practitioner | None:
        """For whom; null: for anybody."""

    @one("read", service_of)
    def service(self) -> HealthcareService | None:
        """What for, where that was said."""

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """Where."""

    @one("read", joined("id", "offered_id"))
    def offered(self) -> Appointment | None:
        """The hold that was last offered, or the visit that it became."""


@strawberry.input(description="A visit that somebody waits for.")
class JoinWaitlistInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    patient: strawberry.ID = strawberry.field(description="Who waits.")
    minutes: int = strawberry.field(description="How long the visit takes, 5 to 480.")
    earliest_on: dt.date = strawberry.field(description="The first day that suits.")
    latest_on: dt.date = strawberry.field(description="The last day that suits.")
    practitioner: strawberry.ID | None = strawberry.field(
        default=None, description="For whom; else for anybody."
    )
    service: strawberry.ID | None = strawberry.field(default=None, description="What for.")
    priority: int = strawberry.field(default=0, description="0 to 9; 9 comes first.")
    reason: str | None = strawberry.field(default=None, description="Why the patient comes.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A time to be offered to somebody who waits.")
class OfferFromWaitlistInput:
    id: strawberry.ID = strawberry.field(description="Who waits.")
    version: int = strawberry.field(description="The version that the change is based on.")
    practitioner: strawberry.ID = strawberry.field(description="Who would see the patient.")
    starts_at: dt.datetime = strawberry.field(description="When the visit would begin.")
    hours: int = strawberry.field(
        default=24, description="How long the offer stands, 1 to 72, at most to the beginning."
    )
    rooms: list[strawberry.ID] = strawberry.field(
        default_factory=list, description="Rooms and devices that the visit needs too."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Somebody who waits and the version that the change is based on.")
class ChangeWaitlistEntryInput:
    id: strawberry.ID = strawberry.field(description="Who waits.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The entry of the waiting list.")
class WaitlistEntryPayload:
    entry: WaitlistEntry | None = strawberry.field(description="The entry.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Query:
    @root("appointment:read", "Who waits, longest first.")
    async def waitlist(
        self,
        info: Info,
        node: Within = None,
        state: Annotated[
            WaitlistState | None, strawberry.argument(description="Only those who stand there.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[WaitlistEntry] | None:
        known, unit = node_argument(info, node)
        if not known:
            return None
        values = {} if state is None else {"state": state.value}
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            values=values,
        )


@strawberry.type
class Mutation:
    @root(BOOK, "Let a patient wait for a time.")
    async def join_waitlist(
        self, info: Info, input: Annotated[JoinWaitlistInput, GIVEN]
    ) -> WaitlistEntryPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            patient = parse_id(input.patient, "Patient")
            known, practitioner = local_id(input.practitioner, "Practitioner")
            offered, service = local_id(input.service, "HealthcareService")
            if patient is None or not known or not offered:
                raise NotFound(path=("patient" if patient is None else "practitioner",))
            await work.create(BOOK, work.new_row(unit, patient_id=patient[1]), "patient")
            entry = await join_waitlist(
                work.session,
                work.agent,
                unit,
                patient[1],
                input.minutes,
                input.earliest_on,
                input.latest_on,
                practitioner_id=practitioner,
                service_id=service,
                priority=input.priority,
                reason=input.reason,
                entry_id=work.new_id,
            )
            return entry.id

        return await perform(info._raw_info, "joinWaitlist", ENTRY, input, command)

    @root(BOOK, "Hold a time for somebody who waits, until they accept or the offer ends.")
    async def offer_from_waitlist(
        self, info: Info, input: Annotated[OfferFromWaitlistInput, GIVEN]
    ) -> WaitlistEntryPayload | None:
        async def command(work: Work) -> uuid.UUID:
            entry = await work.load(Entries, input.id, "WaitlistEntry")
            agent = await work.require(BOOK, entry, "patient")
            unit = info.context.actor.tree.units[entry.unit_id]
            practitioner = parse_id(input.practitioner, "Practitioner")
            if practitioner is None:
                raise NotFound(path=("practitioner",))
            rooms = tuple(rooms_of(input.rooms))
            wanted = Booking(
                entry.patient_id,
                practitioner[1],
                input.starts_at,
                entry.minutes,
                room_ids=rooms,
                service_id=entry.service_id,
            )
            async with offering(info._raw_info, unit, wanted):
                held = await offer(
                    work.session,
                    agent,
                    unit,
                    entry,
                    input.version,
                    practitioner[1],
                    input.starts_at,
                    input.hours,
                    room_ids=rooms,
                )
            assert held.expires_at is not None
            await defer_release(await driver(work.session), held.tenant_id, held.expires_at)
            return entry.id

        return await perform(info._raw_info, "offerFromWaitlist", ENTRY, input, command)

    @root(BOOK, "The patient takes the offered time: it is booked.")
    async def accept_waitlist_offer(
        self, info: Info, input: Annotated[ChangeWaitlistEntryInput, GIVEN]
    ) -> WaitlistEntryPayload | None:
        return await perform_on(info._raw_info, "acceptWaitlistOffer", ENTRY, input, BOOK, accept)

    @root(BOOK, "The patient does not take the offered time and goes on waiting.")
    async def decline_waitlist_offer(
        self, info: Info, input: Annotated[ChangeWaitlistEntryInput, GIVEN]
    ) -> WaitlistEntryPayload | None:
        return await perform_on(info._raw_info, "declineWaitlistOffer", ENTRY, input, BOOK, decline)

    @root(BOOK, "Take a patient off the waiting list.")
    async def leave_waitlist(
        self, info: Info, input: Annotated[ChangeWaitlistEntryInput, GIVEN]
    ) -> WaitlistEntryPayload | None:
        return await perform_on(info._raw_info, "leaveWaitlist", ENTRY, input, BOOK, withdraw)
