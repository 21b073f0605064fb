"""Every rule of the policies counts: without any one of them the templates differ from the table."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from authz.policy import Engine, Policy
from authz.templates import ADMINS, POLICIES, VARIANTS, VIEWER, PolicyError, Variant, sources
from tests.authz.test_permissions import compiled, wanted

pytestmark = pytest.mark.slow
BLOCK = re.compile(r"^resource (\w+) \{.*?^\}", re.MULTILINE | re.DOTALL)
RULE = re.compile(
    r'^  "(?P<action>\w+)" if "\w+"(?: on "\w+")?;$|^(?:has_\w+|allow)\([^;]*;$', re.MULTILINE
)
# Between them these ask for each role and each inheritance of roles.
TELLING = (
    "org_unit:read",
    "grant:give",
    "patient:read_clinical",
    "encounter:start",
    "encounter:arrive",
    "invoice:issue",
    "appointment:book",
    "tenant:configure",
)


class Rule(NamedTuple):
    """A rule of a policy file, where it stands, and the permissions that it can give."""

    file: str
    start: int
    end: int
    permissions: tuple[str, ...]
    text: str


def rules() -> Iterator[Rule]:
    resources = {d: s.resource for d, s in Engine(sources(VARIANTS[0])).subjects.items()}
    for file in sorted(POLICIES.glob("*.polar")):
        text = file.read_text()
        for found in RULE.finditer(text):
            given = tuple(given_by(text, found, resources))
            rule = " ".join(found.group(0).split())
            yield Rule(file.name, found.start(), found.end(), given, rule)


def given_by(text: str, rule: re.Match[str], resources: dict[str, str]) -> Iterator[str]:
    """The permissions to look at: those of the rule's own resource, else the telling ones."""
    block = next(
        (b.group(1) for b in BLOCK.finditer(text) if b.start() < rule.start() < b.end()), None
    )
    named = re.search(r"\w+: (\w+)\) if", rule.group(0))
    name = block or (named.group(1) if named else "")
    if name not in resources:
        yield from TELLING
        return
    actions = {rule["action"]} if block else set(re.findall(r'"(\w+)"', rule.group(0)))
    declared = {row[0] for row in wanted(VARIANTS[0])}
    mine = {p for p in declared if p.startswith(f"{resources[name]}:")}
    asked = {f"{resources[name]}:{action}" for action in actions} & mine
    yield from sorted(asked or mine)


def variants_with(name: str) -> tuple[Variant, ...]:
    """The variants in which a file is part of the policy: one of each kind of administrators."""
    stem = name.removesuffix(".polar")
    if stem in ADMINS:
        return (Variant(stem),)
    if stem == VIEWER:
        return (Variant(viewer_clinical=True),)
    return tuple(Variant(admins) for admins in ADMINS)


def noticed(folder: Path, variant: Variant, permissions: tuple[str, ...]) -> bool:
    """Whether the templates of these permissions differ from the table."""
    templates = {}
    try:
        engine = Engine(sources(variant, folder))
        by_resource = {s.resource: s for s in engine.subjects.values()}
        for permission in permissions:
            resource, action = permission.split(":")
            templates[permission] = engine.template(by_resource[resource], action)
    except PolicyError:
        return True  # the compiler itself notices
    want = {line for line in wanted(variant) if line[0] in templates}
    return compiled(Policy(variant, "", (), templates)) != want


@pytest.mark.parametrize("rule", list(rules()), ids=lambda r: f"{r.file}: {r.text[:70]}")
def test_without_a_rule_the_table_is_not_met(tmp_path: Path, rule: Rule) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(POLICIES, folder)
    text = (folder / rule.file).read_text()
    (folder / rule.file).write_text(text[: rule.start] + text[rule.end :])

    assert any(noticed(folder, v, rule.permissions) for v in variants_with(rule.file))


def test_with_all_rules_the_table_is_met() -> None:
    permissions = tuple(line[0] for line in wanted(VARIANTS[0]) if line[0] in TELLING)

    assert not any(noticed(POLICIES, v, permissions) for v in VARIANTS)


def test_every_rule_is_tried() -> None:
    """What is left of the files without the rules found are declarations and comments."""
    for file in POLICIES.glob("*.polar"):
        rest = re.sub(r"#[^\n]*", "", RULE.sub("", file.read_text()))
        assert " if" not in re.sub(r"has_role_at\([^;]*;", "", rest)
