"""Role templates: what the policy compiler made of the Polar files, committed as JSON and loaded at start.

One file a variant: whether administrators inherit a provider's view of clinical data (`admins_inherit`,
`admins_break_glass`), and whether system viewers read clinical data. The file names the hash of the policy sources
that it was compiled from; when they differ the product does not start.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from authz.conditions import ACTOR, Condition, Residual
from authz.reach import Reach
from domain.tables import load

POLICIES = Path(__file__).parent / "policies"
TEMPLATES = Path(__file__).parent / "templates"
ANYONE = "anyone"
"""In a template: every active person of the health system, whether they hold a role or not."""


class PolicyError(Exception):
    """The policy cannot be used: it fails the lint, the templates are stale, or nobody wrote the rule asked for."""


@dataclass(frozen=True)
class Variant:
    """The switches of a tenant that choose its policy."""

    admins: str = "admins_inherit"
    viewer_clinical: bool = False

    def __post_init__(self) -> None:
        if self.admins not in ADMINS:
            raise PolicyError(f"no policy variant {self.admins!r}")

    @property
    def name(self) -> str:
        """The name of the template file."""
        return self.admins + ("+viewer_clinical" if self.viewer_clinical else "")


ADMINS = ("admins_inherit", "admins_break_glass")
VIEWER = "viewer_clinical"
VARIANTS = tuple(Variant(admins, viewer) for admins in ADMINS for viewer in (False, True))


@dataclass(frozen=True)
class Template:
    """One permission: how rows are reached, and for each role under which conditions (any of them suffices)."""

    reach: Reach
    roles: Mapping[str, tuple[Residual, ...]]


@dataclass(frozen=True)
class Policy:
    """The templates of one variant. `version` is their hash; audit records carry it."""

    variant: Variant
    version: str
    roles: tuple[str, ...]
    permissions: Mapping[str, Template]

    def template(self, resource: str, action: str) -> Template:
        """Raises PolicyError for a permission that no policy declares: silence is never consent."""
        found = self.permissions.get(f"{resource}:{action}")
        if found is None:
            raise PolicyError(f"no policy for {resource}:{action}")
        return found


def sources(variant: Variant, folder: Path = POLICIES) -> tuple[Path, ...]:
    """The Polar files of a variant: all that are no switch, and the switches as the variant sets them."""
    switches = {*ADMINS, VIEWER}
    chosen = {variant.admins} | ({VIEWER} if variant.viewer_clinical else set())
    files = sorted(folder.glob("*.polar"))
    missing = chosen - {f.stem for f in files}
    if missing:
        raise PolicyError(f"no policy file {', '.join(sorted(missing))}.polar")
    return tuple(f for f in files if f.stem not in switches or f.stem in chosen)


def source_hash(files: tuple[Path, ...]) -> str:
    """SHA-256 over names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.read_text()}\0".encode())
    return digest.hexdigest()


def as_json(templates: Mapping[str, Template], roles: tuple[str, ...], source: str) -> str:
    """The reviewable form: stable order, one line a role with its conditions. `digest` is of all the rest."""
    blocks = []
    for name, template in sorted(templates.items()):
        held = [
            f"  {json.dumps(role)}: {json.dumps(sorted(map(_plain, residuals), key=json.dumps))}"
            for role, residuals in sorted(template.roles.items())
        ]
        head = f' "{name}": {{"reach": "{template.reach.value}", "roles": {{\n'
        blocks.append(head + ",\n".join(held) + "}}")
    body = (
        f'"source": {json.dumps(source)},\n"roles": {json.dumps(roles)},\n"permissions": {{\n'
        + ",\n".join(blocks)
        + "}}\n"
    )
    return f'{{"digest": "{_digest(body)}",\n{body}'


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parse(variant: Variant, text: str) -> Policy:
    """Read what `as_json` wrote. Raises PolicyError for anything else."""
    head, _, rest = text.partition("\n")
    try:
        body = json.loads(text)
        if head != f'{{"digest": "{_digest(rest)}",':
            raise PolicyError(f"the templates of {variant.name} were changed by hand")
        roles = tuple(body["roles"])
        permissions = {name: _template(value) for name, value in body["permissions"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PolicyError(f"the templates of {variant.name} cannot be read") from error
    stray = {r for t in permissions.values() for r in t.roles} - {*roles, ANYONE}
    if stray or not permissions or not all(t.roles for t in permissions.values()):
        raise PolicyError(f"the templates of {variant.name} are not whole")
    return Policy(variant, body["digest"][:16], roles, permissions)


@cache
def load_policy(variant: Variant, folder: Path = TEMPLATES, policies: Path = POLICIES) -> Policy:
    """The committed templates. Raises PolicyError where they are missing or older than the policy files."""
    file = folder / f"{variant.name}.json"
    try:
        text = file.read_text()
    except FileNotFoundError as error:
        raise PolicyError(f"no templates {file.name}: run `caretree policy compile`") from error
    policy = parse(variant, text)
    if json.loads(text)["source"] != source_hash(sources(variant, policies)):
        raise PolicyError(f"{file.name} is older than the policies: run `caretree policy compile`")
    return policy


def load_all() -> Mapping[Variant, Policy]:
    """Every variant; called at start. Raises PolicyError for stale templates and for a model without a policy."""
    policies = {variant: load_policy(variant) for variant in VARIANTS}
    models = {m.class_.__resource__ for m in load().registry.mappers} - {None}
    for policy in policies.values():
        missing = {r for r in models if f"{r}:read" not in policy.permissions}
        if missing:
            raise PolicyError(f"nobody may read {', '.join(sorted(missing))}: no policy")
    return policies


def permissions() -> frozenset[str]:
    """Every `resource:action` that the policies declare: the same in each variant."""
    return frozenset(load_policy(VARIANTS[0]).permissions)


def _plain(residual: Residual) -> dict[str, Any]:
    return {
        c.field: c.value.value if c.value is ACTOR else list(c.value) if c.op == "in" else c.value
        for c in sorted(residual, key=str)
    }


def _template(value: Mapping[str, Any]) -> Template:
    roles = {
        role: tuple(frozenset(_condition(f, v) for f, v in residual.items()) for residual in rs)
        for role, rs in value["roles"].items()
    }
    return Template(Reach(value["reach"]), roles)


def _condition(field: str, value: Any) -> Condition:
    if value == ACTOR.value:
        return Condition(field, "eq", ACTOR)
    if isinstance(value, list):
        return Condition(field, "in", tuple(value))
    if value is None:
        raise PolicyError(f"{field}: absent equals nothing")
    return Condition(field, "eq", value)
