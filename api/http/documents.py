"""Documents as they were found good: parsed, within the limits, valid, prepared. The most used are kept."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from api.http.errors import Code, Problem, said_of
from api.http.limits import Limits, Measure, Meter, check, too_complex
from api.plan.kept import Kept, weight_of
from api.plan.prepared import Prepared, prepare

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
BYTES = 64 * 1024 * 1024
"""How much all kept documents of a process may weigh."""
COSTS_KEPT = 64
OF_SIZE = 48  # bytes of one variable's value in the key of a kept cost
SIZED = (int, float)  # 100.0 is an Int too
Compiling = Callable[[], AbstractContextManager[None]]


@dataclass(slots=True)
class Operation:
    """One operation of a document. `sizes` are the variables that its cost depends on.

    `prepared`: level 2 of the engine, where the operation is one for it.
    """

    document: DocumentNode
    node: OperationDefinitionNode
    measure: Measure
    sizes: tuple[str, ...]
    costs: dict[tuple[Any, ...], int] = field(default_factory=dict)
    prepared: Prepared | None = None

    @property
    def name(self) -> str | None:
        return self.node.name.value if self.node.name else None

    @property
    def kind(self) -> str:
        """query, mutation or subscription."""
        return self.node.operation.value

    @property
    def only_reads(self) -> bool:
        return self.node.operation is not OperationType.MUTATION

    @property
    def is_subscription(self) -> bool:
        return self.node.operation is OperationType.SUBSCRIPTION


@dataclass(slots=True)
class Document:
    """A document that may run, and its operations by name. `weight`: about how many bytes it holds."""

    operations: dict[str | None, Operation]
    weight: int

    def operation(self, name: str | None) -> Operation:
        """The operation of that name, or the only one. Raises Problem."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        found = self.operations.get(name) if name is not None else None
        if found is None:
            text = "`operationName` names no operation of the document."
            raise Problem(Code.BAD_USER_INPUT, text)
        return found


class Documents:
    """Finds documents by text or by id. `trusted` maps ids to texts, known beforehand.

    Without `open_` (production) introspection is refused and messages suggest no names.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        open_: bool = False,
        trusted: Mapping[str, str] | None = None,
        most: int = BYTES,
    ) -> None:
        self.schema = schema
        self.limits = limits
        self.open = open_
        self.trusted = dict(trusted or {})
        self.rules: tuple[type[ASTValidationRule], ...] = RULES
        if not open_:
            self.rules = (*RULES, NoSchemaIntrospectionCustomRule)
        self.kept: Kept[str, Document] = Kept(most)

    def find(
        self, text: str | None, document_id: str | None, compiling: Compiling = nullcontext
    ) -> Document:
        """The document, made now, inside `compiling`, if it is not kept. Raises Problem, and what `compiling` does."""
        if text is None:
            text = self._trusted(document_id)
        kept = self.kept.get(text)
        if kept is not None:
            return kept
        with compiling():
            made = self._made(text)
        self.kept.keep(text, made, made.weight)
        return made

    def cost(self, operation: Operation, variables: Mapping[str, Any]) -> int:
        """The cost with these variables, in rows times columns. Raises Problem above the limit."""
        if not operation.sizes:
            return operation.measure.cost
        # Lists count by their length; what cannot be a page size is left to coercion.
        values = [variables.get(name) for name in operation.sizes]
        key = tuple(
            [len(v) if type(v) is list else v if type(v) in SIZED else None for v in values]
        )
        cost = operation.costs.get(key)
        if cost is None:
            measure = Meter(self.schema, operation.document, variables).operation(operation.node)
            if len(operation.costs) >= COSTS_KEPT:
                operation.costs.clear()
            cost = operation.costs[key] = measure.cost
        if cost > self.limits.cost:
            raise too_complex("cost", self.limits.cost)
        return cost

    def _trusted(self, document_id: str | None) -> str:
        text = self.trusted.get(document_id or "")
        if text is None:
            raise Problem(Code.PERSISTED_QUERY_NOT_FOUND, "No document has this id.")
        return text

    def _made(self, text: str) -> Document:
        try:
            document = self._parsed(text)
            operations = self._measured(document)
            self._validate(document)
            for operation in operations.values():
                operation.prepared = prepare(
                    self.schema, document, operation.node, hide_suggestions=not self.open
                )
        except RecursionError:
            raise too_complex("depth", self.limits.depth) from None
        if not operations:
            raise Problem(Code.GRAPHQL_VALIDATION_FAILED, "The document has no operation.")
        sizes = sum(len(operation.sizes) for operation in operations.values())
        return Document(operations, weight_of(document.loc) + sizes * COSTS_KEPT * OF_SIZE)

    def _parsed(self, text: str) -> DocumentNode:
        tokens = self.limits.tokens
        try:
            return parse(text, max_lexical_tokens=tokens, max_comments=tokens)
        except GraphQLSyntaxError as error:
            if "Parsing aborted" in error.message:
                raise too_complex("tokens", tokens) from None
            raise said_of(error, Code.GRAPHQL_PARSE_FAILED) from None

    def _measured(self, document: DocumentNode) -> dict[str | None, Operation]:
        if len(document.definitions) > self.limits.definitions:
            raise too_complex("definitions", self.limits.definitions)
        operations: dict[str | None, Operation] = {}
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode):
                meter = Meter(self.schema, document, {})
                measure = meter.operation(node)
                check(measure, self.limits)
                name = node.name.value if node.name else None
                operations[name] = Operation(document, node, measure, tuple(sorted(meter.sizes)))
        return operations

    def _validate(self, document: DocumentNode) -> None:
        errors = validate(
            self.schema, document, self.rules, max_errors=1, hide_suggestions=not self.open
        )
        if errors:
            raise said_of(errors[0], Code.GRAPHQL_VALIDATION_FAILED)
