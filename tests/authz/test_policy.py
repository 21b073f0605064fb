"""The compiler: what it refuses, that every rule counts, and that the committed templates are its own."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from authz import policy
from authz.lint import check, declarations
from authz.policy import Engine, PolicyError
from authz.reach import Reach
from authz.templates import (
    ADMINS,
    POLICIES,
    TEMPLATES,
    VARIANTS,
    VIEWER,
    Template,
    Variant,
    load_policy,
    parse,
    source_hash,
    sources,
)

SMALL = """
actor User {}
resource Unit { roles = ["nurse", "biller"]; }
has_role(user: User, role: String, unit: Unit) if
  node in user.nodes(role) and node in unit.ancestor_ids;
allow(user: User, action: String, resource: Resource) if has_permission(user, action, resource);
resource Encounter {
  permissions = ["read"];
  relations = { unit: Unit };
"""
RELATION = """
has_relation(unit: Unit, "unit", row: Encounter) if unit = row.unit;
"""


Write = Callable[..., tuple[Path, ...]]


@pytest.fixture
def files(tmp_path: Path) -> Write:
    """A small policy: `rules` inside the block of Encounter, `more` after it."""

    def write(rules: str = "", more: str = "", whole: str = "") -> tuple[Path, ...]:
        text = whole or f"{SMALL}{rules}\n}}\n{RELATION}{more}\n"
        text = text.replace(
            'resource Unit { roles = ["nurse", "biller"]; }',
            'resource Unit {\n  roles = ["nurse", "biller"];\n}',
        )
        (tmp_path / "small.polar").write_text(text)
        return (tmp_path / "small.polar",)

    return write


def compiled_small(files: tuple[Path, ...]) -> dict[str, Template]:
    return Engine(files).templates()


def test_a_small_policy_compiles(files: Write) -> None:
    assert "encounter:read" in compiled_small(files('"read" if "nurse" on "unit";'))


NURSE = 'has_role(user, "nurse", row.unit)'
READ = 'has_permission(user: User, "read", row: Encounter) if'
REFUSED = {
    "cut": ("", f"{READ} {NURSE} and cut;", "'cut'"),
    "not": ("", f"{READ} {NURSE} and not row.sensitivity = 1;", "'not'"),
    "forall": ("", f"{READ} {NURSE} and forall(x in [1], x = 1);", "'forall'"),
    "==": ("", f"{READ} {NURSE} and row.sensitivity == 0;", "'=='"),
    "!=": ("", f"{READ} {NURSE} and row.sensitivity != 1;", "'!='"),
    "<": ("", f"{READ} {NURSE} and row.sensitivity < 1;", "'<'"),
    "nil": ("", f"{READ} {NURSE} and row.reason = nil;", "'nil'"),
    "print": ("", f"{READ} {NURSE} and print(row);", "'print'"),
    "no node": ("", READ.replace("user:", "_user:") + " row.sensitivity = 0;", "bound to no node"),
    "a variable alone": ("", f"{READ} row.sensitivity = 0;", "Singleton variable user"),
    "everything": ("", f"{READ} user.id = user.id and row.sensitivity in [0];", "bound to no node"),
    "another's own": ("", f"{READ} row.practitioner_id = user.id;", "bound to no node"),
    "literal node": (
        "",
        f'{READ} {NURSE} or "0190a" in row.unit.ancestor_ids;',
        "not with a grant",
    ),
    "node by id": ("", f'{READ} {NURSE} and row.unit.id = "0190a";', "reaches into Unit"),
    "two columns": ("", f"{READ} {NURSE} and row.practitioner_id = row.patient_id;", "two columns"),
    "unknown column": (
        "",
        f'{READ} {NURSE} and row.colour = "red";',
        "reaches into Encounter.colour",
    ),
    "a float": ("", f"{READ} {NURSE} and row.sensitivity = 0.5;", "no condition of ours"),
    "two roles": ("", f'{READ} {NURSE} and has_role(user, "biller", row.unit);', "two roles"),
    "nobody": ("", f'{READ} has_role(user, "king", row.unit);', "nobody has"),
    "no relation": ("", f'{READ} "x" in user.nodes("nurse") and row.kind = "x";', "nobody has"),
    "broken": ('"read" if', "", "Oso refuses"),
    "unknown role": ('"read" if "king" on "unit";', "", "Oso refuses"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_lint_refuses(files: Write, case: str) -> None:
    rules, more, said = REFUSED[case]
    with pytest.raises(PolicyError, match=re.escape(said)):
        compiled_small(files(rules, more))


BLOCKS = {
    "no roles": (
        'resource Encounter {\n permissions = ["read"];\n relations = { unit: Unit };\n}\n',
        "no roles",
    ),
    "twice": (f"{SMALL}}}\n{SMALL}}}\n", "twice"),
    "no permissions": (SMALL.replace('permissions = ["read"];', "") + "}\n", "declares no"),
    "no relations": (SMALL.replace("relations = { unit: Unit };", "") + "}\n", "declares no"),
    "unknown relation": (SMALL.replace("unit: Unit", "ward: Unit") + "}\n", "no scope knows"),
    "relation to a row": (SMALL.replace("unit: Unit", "unit: Note") + "}\n", "no scope knows"),
    "no resource": (SMALL.replace("Encounter", "AppointmentBlock") + "}\n", "speak of one"),
    "plain table": (SMALL.replace("Encounter", "Counter") + "}\n", "is no resource"),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_blocks_that_are_refused(files: Write, case: str) -> None:
    text, said = BLOCKS[case]
    if case == "no resource":
        text += (
            SMALL[SMALL.index("resource Encounter") :].replace("Encounter", "Appointment") + "}\n"
        )
    with pytest.raises(PolicyError, match=said):
        Engine(files(whole=text))


def test_a_rule_that_reaches_into_another_type_is_refused(files: Write) -> None:
    """Encounter may not ask its note; only relations to a place lead out of a row."""
    note = SMALL[SMALL.index("resource Encounter") :].replace("Encounter", "Note")
    more = f"""
{note}
  "read" if "nurse" on "unit";
}}
has_relation(unit: Unit, "unit", row: Note) if unit = row.unit;
{READ} note matches Note and note.encounter_id = row.id and has_role(user, "nurse", note.unit);
"""
    with pytest.raises(PolicyError):
        compiled_small(files("", more))


def test_a_patient_is_reached_by_the_sites_alone(files: Write) -> None:
    text = SMALL.replace("Encounter", "Patient").replace(
        "unit: Unit }", "site: Unit, everywhere: Unit }"
    )
    text += '  "read" if "nurse" on "site";\n  "read" if "biller" on "everywhere";\n}\n'
    text += """
has_relation(unit: Unit, "site", row: Patient) if site in row.sites and unit = site.unit;
has_relation(unit: Unit, "everywhere", row: Patient) if unit = row.everywhere;
"""
    with pytest.raises(PolicyError, match="reaches into another type"):
        compiled_small(files(whole=text))
    with_one = text.replace('  "read" if "biller" on "everywhere";\n', "")
    assert compiled_small(files(whole=with_one))["patient:read"].reach is Reach.SITE


def test_constants_that_hold_add_nothing(files: Write) -> None:
    subject = Engine(files('"read" if "nurse" on "unit";')).subjects["Encounter"]
    same, other = (SimpleNamespace(left=1, cmp="Eq", right=n) for n in (1, 2))

    assert policy._term("", subject, [same], {}) == (set(), frozenset())
    assert policy._term("", subject, [other], {}) is None


def test_words_inside_strings_and_comments_are_free() -> None:
    check('# not cut == < forall\nallow("not", "cut == 1");')


def test_a_permission_by_two_relations_is_refused(files: Write) -> None:
    text = SMALL.replace(
        "relations = { unit: Unit };", "relations = { unit: Unit, everywhere: Unit };"
    )
    text += '  "read" if "nurse" on "unit";\n  "read" if "biller" on "everywhere";\n}\n'
    text += (
        RELATION
        + 'has_relation(unit: Unit, "everywhere", row: Encounter) if unit = row.everywhere;\n'
    )
    with pytest.raises(PolicyError, match="two relations"):
        compiled_small(files(whole=text))


def test_decisions_need_places(files: Write) -> None:
    engine = Engine(files('"read" if "nurse" on "unit";'))
    row = engine.subjects["Encounter"].cls(unit_id="here")
    with pytest.raises(PolicyError):
        engine.allowed(policy.User("me", {"nurse": ["here"]}), "read", row)


# ---- the committed templates ----------------------------------------------------------------------


def test_templates_older_than_the_policies_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(POLICIES, folder)
    (folder / "patients.polar").write_text("# changed\n")
    with pytest.raises(PolicyError, match="older"):
        load_policy(VARIANTS[0], TEMPLATES, folder)


def test_missing_templates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no templates"):
        load_policy(VARIANTS[0], tmp_path)


def test_a_missing_switch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no policy file"):
        sources(VARIANTS[0], tmp_path)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(PolicyError):
        Variant("admins_do_as_they_like")


BROKEN = {
    "no JSON": "{",
    "nothing": "{}",
    "no permissions": '{"source": "", "roles": [], "permissions": {}}',
    "unknown role": '{"roles": ["a"], "permissions": {"x:y": {"reach": "unit", "roles": {"b": [{}]}}}}',
    "nobody": '{"roles": ["a"], "permissions": {"x:y": {"reach": "unit", "roles": {}}}}',
    "unknown reach": '{"roles": ["a"], "permissions": {"x:y": {"reach": "z", "roles": {"a": [{}]}}}}',
    "absent": '{"roles": ["a"], "permissions": {"x:y": {"reach": "unit", "roles": {"a": [{"f": null}]}}}}',
}


def signed(text: str) -> str:
    """The text with the digest that a file of templates carries."""
    rest = text.removeprefix("{")
    return f'{{"digest": "{hashlib.sha256(rest.encode()).hexdigest()}",\n{rest}'


@pytest.mark.parametrize("case", BROKEN)
def test_broken_templates_are_refused(case: str) -> None:
    with pytest.raises(PolicyError, match=r"read|whole|absent"):
        parse(VARIANTS[0], signed(BROKEN[case]))


def test_templates_changed_by_hand_are_refused() -> None:
    text = (TEMPLATES / "admins_inherit.json").read_text()
    with pytest.raises(PolicyError, match="by hand"):
        parse(VARIANTS[0], text.replace('{"sensitivity": 0}', "{}"))


def test_what_a_file_of_templates_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A variable that nothing binds, or a word that stands for the actor, would come back as another rule."""
    for stem in ("organization", "encounters", ADMINS[0]):
        shutil.copy(POLICIES / f"{stem}.polar", tmp_path)
    assert parse(VARIANTS[0], policy.compile_variant(VARIANTS[0], tmp_path))
    file = tmp_path / "encounters.polar"
    once = 'note.kind = "nursing" and has_role_at'
    for strange, said in (
        ('note.kind in ["nursing", "progress"] and note.kind = kind and', "Oso refuses"),
        ('note.kind = "$actor" and', "do not come back"),
    ):
        text = file.read_text().replace(once, f"{strange} has_role_at")
        assert text != file.read_text()
        file.write_text(text)
        with pytest.raises(PolicyError, match=said):
            policy.compile_variant(VARIANTS[0], tmp_path)
        shutil.copy(POLICIES / "encounters.polar", file)


def test_write_and_stale_agree(tmp_path: Path) -> None:
    shutil.copytree(POLICIES, tmp_path / "policies")
    small = tmp_path / "policies"
    for file in small.glob("*.polar"):
        if file.stem not in (*ADMINS, VIEWER, "organization"):
            file.unlink()
    (small / "admins_break_glass.polar").write_text("# nothing\n")
    (tmp_path / "out").mkdir()

    assert len(policy.write(tmp_path / "out", small)) == len(VARIANTS)
    assert policy.write(tmp_path / "out", small) == []
    assert policy.stale(tmp_path / "out", small) == []
    (tmp_path / "out" / "admins_inherit.json").write_text("{}")
    assert [f.name for f in policy.stale(tmp_path / "out", small)] == ["admins_inherit.json"]
    assert [f.name for f in policy.write(tmp_path / "out", small)] == ["admins_inherit.json"]


def test_the_declarations_and_the_hash_cover_every_file() -> None:
    files = sources(VARIANTS[0])

    assert {"Patient", "Encounter", "RoleGrant"} <= set(declarations(files).resources)
    assert source_hash(files) != source_hash(files[:-1])
