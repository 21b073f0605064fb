"""Changing by which rules, settings and wordings patients are reminded, by who administers the unit."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.reminders import ReminderRule, ReminderSettings, ReminderTemplate
from api.plan.write import Payload, Work, driver, perform
from domain.patients import Channel as ReminderChannel
from domain.reminders import ReminderRule as Rules
from domain.reminders import ReminderTemplate as Templates
from domain.reminders import (
    add_rule,
    change_rule,
    set_manner,
    set_template,
    set_webhook,
    withdraw_template,
)
from identity.reminders import start

MANAGE = "reminder_rule:manage"
RULE = Payload("rule", "ReminderRule")
SETTINGS = Payload("settings", "ReminderSettings")
TEMPLATE = Payload("template", "ReminderTemplate")
UNSET = strawberry.UNSET
FIRST = "The version that the change is based on; 0 where the unit has none yet."


@strawberry.input(description="By what and how long before a visit patients are to be reminded.")
class AddReminderRuleInput:
    unit: strawberry.ID = strawberry.field(description="The unit, of any level.")
    channel: ReminderChannel = strawberry.field(description="By what.")
    minutes_before: int | None = strawberry.field(
        description="15 minutes to 30 days; null: by this channel nobody is reminded there."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Another time before the visit, or the end of a rule.")
class ChangeReminderRuleInput:
    id: strawberry.ID = strawberry.field(description="The rule.")
    version: int = strawberry.field(description="The version that the change is based on.")
    minutes_before: int | None = strawberry.field(
        default=UNSET, description="How long before the visit; left out: as it is."
    )
    active: bool | None = strawberry.field(default=None, description="False withdraws it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(
    description="How a unit reminds: what is left out stays, null leaves it to the unit above."
)
class SetReminderSettingsInput:
    unit: strawberry.ID = strawberry.field(description="The unit, of any level.")
    version: int = strawberry.field(description=FIRST)
    quiet_from: dt.time | None = strawberry.field(
        default=UNSET, description="When the quiet hours begin; given with their end."
    )
    quiet_until: dt.time | None = strawberry.field(
        default=UNSET, description="When they end; the same as the beginning: none."
    )
    display_name: str | None = strawberry.field(
        default=UNSET, description="What messages call the place."
    )
    phone: str | None = strawberry.field(default=UNSET, description="What to call, +12025550143.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Where reminders of WEBHOOK go; each time with a new secret.")
class SetReminderWebhookInput:
    unit: strawberry.ID = strawberry.field(description="The unit, of any level.")
    version: int = strawberry.field(description=FIRST)
    url: str | None = strawberry.field(description="An https address; null takes it away.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What messages are to say in a language.")
class SetReminderTemplateInput:
    unit: strawberry.ID = strawberry.field(description="The unit, of any level.")
    version: int = strawberry.field(description=FIRST)
    language: str = strawberry.field(description="Of which language (BCP 47).")
    subject: str = strawberry.field(description="The subject, with places as in the text.")
    body: str = strawberry.field(
        description="The text. {patient}, {name}, {date}, {time}, {phone} are filled in; a line whose value is not"
        " there is left out."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A wording to be used no more.")
class WithdrawReminderTemplateInput:
    id: strawberry.ID = strawberry.field(description="The wording.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The rule.")
class ReminderRulePayload:
    rule: ReminderRule | None = strawberry.field(description="The rule.")
    user_errors: list[UserError] = payload_errors()


@value_type("The settings.")
class ReminderSettingsPayload:
    settings: ReminderSettings | None = strawberry.field(description="The settings.")
    user_errors: list[UserError] = payload_errors()


@value_type("The settings, and the secret by which the receiver checks signatures.")
class ReminderWebhookPayload:
    settings: ReminderSettings | None = strawberry.field(description="The settings.")
    secret: str | None = strawberry.field(
        description="Told this once, and not to a repeat: keep it. whsec_… as Standard Webhooks has it."
    )
    user_errors: list[UserError] = payload_errors()


@value_type("The wording.")
class ReminderTemplatePayload:
    template: ReminderTemplate | None = strawberry.field(description="The wording.")
    user_errors: list[UserError] = payload_errors()


async def _at(work: Work, node: str) -> Any:
    """The unit at which something is said, judged."""
    unit = work.unit(node, "unit")
    await work.create(MANAGE, work.new_row(unit))
    return unit


def _given(input_: Any, *names: str) -> dict[str, Any]:
    """What an input says, without what it leaves out."""
    said = {name: getattr(input_, name) for name in names}
    return {name: value for name, value in said.items() if value is not UNSET}


async def _looked_through(work: Work) -> None:
    await start(work.session, await driver(work.session), work.agent)


@strawberry.type
class Mutation:
    @root(MANAGE, "Remind patients of their visits.")
    async def add_reminder_rule(
        self, info: Info, input: Annotated[AddReminderRuleInput, GIVEN]
    ) -> ReminderRulePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = await _at(work, input.unit)
            asked = unit, input.channel, input.minutes_before
            made = await add_rule(work.session, work.agent, *asked, work.new_id)
            await _looked_through(work)
            return made.id

        return await perform(info._raw_info, "addReminderRule", RULE, input, command)

    @root(MANAGE, "Change a rule, withdraw it, or put it in force again.")
    async def change_reminder_rule(
        self, info: Info, input: Annotated[ChangeReminderRuleInput, GIVEN]
    ) -> ReminderRulePayload | None:
        async def command(work: Work) -> uuid.UUID:
            rule = await work.load(Rules, input.id, "ReminderRule")
            agent = await work.require(MANAGE, rule)
            unit = info.context.actor.tree.units[rule.unit_id]
            changes = _given(input, "minutes_before", "active")
            changed = await change_rule(work.session, agent, unit, rule, input.version, changes)
            await _looked_through(work)
            return changed.id

        return await perform(info._raw_info, "changeReminderRule", RULE, input, command)

    @root(MANAGE, "Set quiet hours, and what messages call the place and tell to call.")
    async def set_reminder_settings(
        self, info: Info, input: Annotated[SetReminderSettingsInput, GIVEN]
    ) -> ReminderSettingsPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = await _at(work, input.unit)
            changes = _given(input, "quiet_from", "quiet_until", "display_name", "phone")
            given = unit, input.version, changes
            return (await set_manner(work.session, work.agent, *given, work.new_id)).id

        return await perform(info._raw_info, "setReminderSettings", SETTINGS, input, command)

    @root(MANAGE, "Set the address that takes reminders; its secret is told once.")
    async def set_reminder_webhook(
        self, info: Info, input: Annotated[SetReminderWebhookInput, GIVEN]
    ) -> ReminderWebhookPayload | None:
        secret: list[str | None] = [None]

        async def command(work: Work) -> uuid.UUID:
            unit = await _at(work, input.unit)
            setting, secret[0] = await set_webhook(
                work.session,
                work.agent,
                await work.sealer(),
                unit,
                input.version,
                input.url,
                work.new_id,
                plain=info.context.plain_webhooks,
            )
            return setting.id

        async def told(_work: Work, _id: uuid.UUID) -> dict[str, Any]:
            return {"secret": secret[0]}

        return await perform(
            info._raw_info, "setReminderWebhook", SETTINGS, input, command, extra=told
        )

    @root(MANAGE, "Set what messages say in a language.")
    async def set_reminder_template(
        self, info: Info, input: Annotated[SetReminderTemplateInput, GIVEN]
    ) -> ReminderTemplatePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = await _at(work, input.unit)
            given = unit, input.version, input.language, input.subject, input.body
            return (await set_template(work.session, work.agent, *given, work.new_id)).id

        return await perform(info._raw_info, "setReminderTemplate", TEMPLATE, input, command)

    @root(MANAGE, "Use a wording no more.")
    async def withdraw_reminder_template(
        self, info: Info, input: Annotated[WithdrawReminderTemplateInput, GIVEN]
    ) -> ReminderTemplatePayload | None:
        async def command(work: Work) -> uuid.UUID:
            template = await work.load(Templates, input.id, "ReminderTemplate")
            agent = await work.require(MANAGE, template)
            unit = info.context.actor.tree.units[template.unit_id]
            gone = await withdraw_template(work.session, agent, unit, template, input.version)
            return gone.id

        return await perform(info._raw_info, "withdrawReminderTemplate", TEMPLATE, input, command)
