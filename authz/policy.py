"""Oso as a compiler: Polar policies become role templates. The only module that imports Oso.

Asking Oso for each row costs milliseconds, so nobody asks it while serving. Instead its partial evaluator is asked
once for each permission, with a user who holds every role at a placeholder node of its own; what comes back is a
disjunction of `NODE in unit.ancestor_ids` plus conditions on the row's own columns, and that is the template.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from oso import Oso, Relation
from polar.data.adapter import DataAdapter
from polar.data.filter import Projection

from authz.conditions import ACTOR, Condition, Residual
from authz.lint import PLACE, Declaration, Declarations, declarations
from authz.reach import Reach
from authz.templates import (
    ANYONE,
    POLICIES,
    TEMPLATES,
    VARIANTS,
    Policy,
    PolicyError,
    Template,
    Variant,
    as_json,
    load_policy,
    parse,
    permissions,
    source_hash,
    sources,
)
from domain.model import OfPatient
from domain.tables import load

__all__ = [
    "Engine",
    "Policy",
    "PolicyError",
    "compile_variant",
    "load_policy",
    "permissions",
    "stale",
    "write",
]

ASKER = "the person who asks"
PSEUDO_ROLES = ("chart_reader", "member")
"""Held through other roles only."""


class User:
    """What Polar sees of an actor: an id, and the nodes at which each role is held."""

    def __init__(self, id: str, held: Mapping[str, Sequence[str]]) -> None:
        self.id = id
        self.held = held

    def nodes(self, role: str) -> list[str]:
        return list(self.held.get(role, ()))


class Row:
    """What Polar sees of a row: plain values, identifiers as text."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Unit(Row):
    """What Polar sees of a place: `id` and `ancestor_ids`."""


class PatientSite(Row):
    """What Polar sees of a site: `patient_id` and `unit_id`."""


class _Adapter(DataAdapter):
    """Hands the abstract filter back; for decisions it looks places and sites up where the caller says."""

    def __init__(self, unit: Callable[[str], Unit], sites: Callable[[str], list[PatientSite]]):
        self.unit, self.sites = unit, sites

    def build_query(self, filter: Any) -> Any:
        return filter

    def execute_query(self, query: Any) -> list[Any]:
        ((condition,),) = query.conditions
        key = condition.left if isinstance(condition.right, Projection) else condition.right
        return [self.unit(key)] if query.model is Unit else list(self.sites(key))


@dataclass(frozen=True)
class Subject:
    """A resource as Polar and the templates know it."""

    declaration: Declaration
    resource: str
    cls: type[Row]
    columns: frozenset[str]


def _nowhere(_: str) -> Any:
    raise PolicyError("a decision needs to know places and sites")


class Engine:
    """The policy files of a variant in an Oso. Raises PolicyError for what the lint refuses."""

    def __init__(
        self,
        files: Sequence[Path],
        unit: Callable[[str], Unit] = _nowhere,
        sites: Callable[[str], list[PatientSite]] = _nowhere,
    ) -> None:
        self.declared: Declarations = declarations(files)
        self.roles = tuple(r for r in self.declared.roles if r not in PSEUDO_ROLES)
        self.nodes = {f"the node of the {role}": role for role in self.roles}
        self.subjects = {d.name: _subject(d) for d in self.declared.resources.values()}
        resources = [s.resource for s in self.subjects.values()]
        if len(set(resources)) < len(resources):
            raise PolicyError("two resource blocks speak of one resource")
        self.oso = cast(Any, Oso())  # the library has no types
        self.oso.register_class(User, fields={"id": str})
        self.oso.register_class(Unit, fields={"id": str, "ancestor_ids": list})
        place = Relation("one", PLACE, "unit_id", "id")
        self.oso.register_class(
            PatientSite, fields={"patient_id": str, "unit_id": str, "unit": place}
        )
        for subject in self.subjects.values():
            self.oso.register_class(
                subject.cls, name=subject.declaration.name, fields=_fields(subject)
            )
        self.oso.set_data_filtering_adapter(_Adapter(unit, sites))
        try:
            with warnings.catch_warnings(action="error"):
                self.oso.load_files([str(f) for f in files])
        except Exception as error:
            raise PolicyError(f"Oso refuses the policies: {error}") from error

    def allowed(self, user: User, action: str, row: Row) -> bool:
        """Oso's own decision on one row: what the templates must agree with."""
        return bool(self.oso.is_allowed(user, action, row))

    def templates(self) -> dict[str, Template]:
        """Probe every permission for every role. Raises PolicyError for a permission that nobody has."""
        return {
            f"{subject.resource}:{action}": self.template(subject, action)
            for subject in self.subjects.values()
            for action in subject.declaration.permissions
        }

    def template(self, subject: Subject, action: str) -> Template:
        """One permission: a single question to Oso, by a user who holds each role at a node of its own.

        The node that a term is bound to tells whose it is; bound to two, it needs two roles at once.
        """
        where = f"{subject.resource}:{action}"
        user = User(ASKER, {role: [node] for node, role in self.nodes.items()})
        try:
            query = self.oso.authorized_query(user, action, subject.cls)
        except Exception as error:
            raise PolicyError(f"{where} cannot become a filter: {error}") from error
        found: dict[str, set[Residual]] = {}
        for conjunction in query.conditions:
            term = _term(where, subject, conjunction, self.nodes)
            if term is not None:
                roles, residual = term
                found.setdefault(_only(where, subject, roles, residual), set()).add(residual)
        if not found:
            raise PolicyError(f"nobody has {where}: declare it when somebody does")
        bound = set(found) != {ANYONE}
        relation = Reach(subject.declaration.relations[0])
        reach = _reach(where, subject, query.relations) if bound else relation
        return Template(
            reach,
            {
                role: tuple(sorted(_merged(_weakest(terms)), key=_order))
                for role, terms in found.items()
            },
        )


def _only(where: str, subject: Subject, roles: set[str], residual: Residual) -> str:
    """Whose a term is. Without a node only a row about the person who asks is anybody's."""
    if len(roles) > 1:
        raise PolicyError(f"{where} needs two roles at once: {' and '.join(sorted(roles))}")
    if not roles and not _own(subject, residual):
        raise PolicyError(f"{where}: a rule is bound to no node of the tree")
    return next(iter(roles), ANYONE)


def _subject(declaration: Declaration) -> Subject:
    """The model of the same name gives the fields; a resource without one (payment) is placed like a row."""
    models = {mapper.class_.__name__: mapper.class_ for mapper in load().registry.mappers}
    model: Any = models.get(declaration.name)
    if model is None:
        names = [c for c in vars(OfPatient) if not c.startswith("_")]
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", declaration.name).lower()
        return Subject(declaration, snake, _row_class(declaration.name), frozenset(names))
    if model.__resource__ is None:
        raise PolicyError(f"the model {declaration.name} is no resource")
    columns = frozenset(c.key for c in model.__mapper__.column_attrs)
    return Subject(declaration, model.__resource__, _row_class(declaration.name), columns)


def _row_class(name: str) -> type[Row]:
    return type(name, (Row,), {})


def _fields(subject: Subject) -> dict[str, Any]:
    """Columns by their plain types, and one relation for each way to a place."""
    fields: dict[str, Any] = {name: str for name in subject.columns}
    fields["sensitivity"] = int
    for relation in subject.declaration.relations:
        if relation == Reach.SITE.value:
            fields["sites"] = Relation("many", "PatientSite", "id", "patient_id")
        else:
            fields[f"{relation}_id"] = str
            fields[relation] = Relation("one", PLACE, f"{relation}_id", "id")
    return fields


def _term(
    where: str, subject: Subject, conjunction: Iterable[Any], nodes: Mapping[str, str]
) -> tuple[set[str], Residual] | None:
    """The roles that a conjunction is bound to, and what else it asks; None where it never holds."""
    roles, residual = set(), set()
    for condition in conjunction:
        left, operator, right = condition.left, condition.cmp, condition.right
        fields = [side for side in (left, right) if isinstance(side, Projection)]
        if not fields:
            if operator != "Eq" or left != right:
                return None
        elif operator == "In" and isinstance(right, Projection) and right.source is Unit:
            if right.field != "ancestor_ids" or left not in nodes:
                raise PolicyError(f"{where}: a place is compared with {left!r}, not with a grant")
            roles.add(nodes[left])
        else:
            residual.add(_condition(where, subject, condition, fields))
    return roles, frozenset(residual)


def _condition(
    where: str, subject: Subject, condition: Any, fields: Sequence[Projection]
) -> Condition:
    if len(fields) != 1:
        raise PolicyError(f"{where}: two columns are compared with each other")
    (field,) = fields
    if field.source is not subject.cls or field.field not in subject.columns:
        raise PolicyError(f"{where}: a rule reaches into {field.source.__name__}.{field.field}")
    value = condition.right if field is condition.left else condition.left
    if condition.cmp == "Eq" and value == ASKER:
        return Condition(field.field, "eq", ACTOR)
    if condition.cmp == "Eq" and isinstance(value, str | int):
        return Condition(field.field, "eq", value)
    raise PolicyError(f"{where}: {field.field} {condition.cmp} {value!r} is no condition of ours")


def _reach(where: str, subject: Subject, relations: Iterable[Any]) -> Reach:
    """By which relation the rule came to a place. Other relations reach into another type."""
    names = {(r.left, r.name, r.right) for r in relations}
    if names == {(subject.cls, "sites", PatientSite), (PatientSite, "unit", Unit)}:
        return Reach.SITE
    direct = {n for s, n, t in names if (s, t) == (subject.cls, Unit)}
    if len(direct) == len(names) == 1:
        return Reach(*direct)
    if len(direct) == len(names):
        raise PolicyError(f"{where} is reached by two relations: {' and '.join(sorted(direct))}")
    raise PolicyError(f"{where}: a rule reaches into another type than a place")


def _own(subject: Subject, residual: Residual) -> bool:
    """The one rule that may do without a node: the row is about the person who asks, and nothing else."""
    field = "id" if subject.resource == "person" else "person_id"
    return residual == {Condition(field, "eq", ACTOR)}


def _weakest(terms: Iterable[Residual]) -> set[Residual]:
    """Without the terms that a weaker one implies."""
    found = set(terms)
    return {t for t in found if not any(other < t for other in found)}


def _merged(terms: Iterable[Residual]) -> set[Residual]:
    """Terms that differ in the value of one column only become one with `in`."""
    found = set(terms)
    for field in sorted({c.field for t in found for c in t}):
        groups: dict[Residual, set[Condition]] = {}
        for term in found:
            own = [c for c in term if c.field == field and c.op == "eq" and c.value is not ACTOR]
            if len(own) == 1:
                groups.setdefault(term - set(own), set()).update(own)
        for rest, several in groups.items():
            if len(several) > 1:
                found -= {rest | {one} for one in several}
                values = tuple(sorted(c.value for c in several))
                found.add(rest | {Condition(field, "in", values)})
    return found


def _order(residual: Residual) -> list[str]:
    return sorted(map(str, residual))


def compile_variant(variant: Variant, folder: Path = POLICIES) -> str:
    """The template file of a variant, made from the policy files."""
    files = sources(variant, folder)
    engine = Engine(files)
    templates = engine.templates()
    text = as_json(templates, engine.roles, source_hash(files))
    if _sets(parse(variant, text).permissions) != _sets(templates):
        raise PolicyError("the templates do not come back from their file as they went in")
    return text


def _sets(templates: Mapping[str, Template]) -> dict[str, Any]:
    return {
        name: (t.reach, {role: frozenset(residuals) for role, residuals in t.roles.items()})
        for name, t in templates.items()
    }


def write(folder: Path = TEMPLATES, policies: Path = POLICIES) -> list[Path]:
    """Compile every variant and write its file; answers those that changed."""
    changed = []
    for variant in VARIANTS:
        text, file = compile_variant(variant, policies), folder / f"{variant.name}.json"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            changed.append(file)
    return changed


def stale(folder: Path = TEMPLATES, policies: Path = POLICIES) -> list[Path]:
    """The template files that a fresh compile would write differently."""
    files = [(folder / f"{v.name}.json", v) for v in VARIANTS]
    return [f for f, v in files if not f.exists() or f.read_text() != compile_variant(v, policies)]
