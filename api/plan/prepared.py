"""Level 2 of the engine: root fields resolved without graphql-core's executor.

Which fields there are and how their arguments become Python values is worked out once for a document. A request coerces
its variables, calls the resolvers and takes their finished JSON. What is neither finished JSON nor null is completed by
graphql-core as ever.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    VariableDefinitionNode,
    coerce_input_value,
    get_variable_values,
    is_non_null_type,
    located_error,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, collect_fields
from graphql.execution.executor import default_field_resolver, default_type_resolver
from graphql.execution.get_variable_signature import (
    GraphQLVariableSignature,
    get_variable_signature,
)
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.types.field import StrawberryField

from api.plan.arguments import NOTHING, Arguments, Types
from api.plan.compile import BACKREF
from api.plan.execute import PassThrough


@dataclass(frozen=True, slots=True)
class Root:
    """A root field of a document, under its name in the response. `call` takes Strawberry's info and the arguments."""

    name: str
    path: Path
    details: FieldDetailsList
    field: GraphQLField
    definition: StrawberryField
    arguments: Arguments
    call: Callable[..., Any]


class Prepared:
    """An operation whose root fields are known before anybody asks for it."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        roots: list[Root],
        *,
        hide_suggestions: bool,
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = fragments
        self.roots = roots
        self.hide_suggestions = hide_suggestions
        self.serial = operation.operation is OperationType.MUTATION
        self.variables = operation.variable_definitions or ()
        self.signatures = _signatures(schema, self.variables)
        self.info_class = schema._strawberry_schema.config.info_class  # type: ignore[attr-defined] # Strawberry puts itself there
        definitions = {name: details.definition for name, details in fragments.items()}
        self.infos = [self._info(root, definitions) for root in roots]

    async def run(self, given: dict[str, Any], context: Any) -> ExecutionResult | GraphQLError:
        """Execute with a request's variables; an error where they are not what the operation declares."""
        variables = self._coerced(given) or get_variable_values(
            self.schema,
            self.variables,
            given,
            max_errors=1,
            hide_suggestions=self.hide_suggestions,
        )
        if isinstance(variables, list):
            return variables[0]
        execution = Execution(self, variables, context)
        fields = zip(self.roots, self.infos, strict=True)
        if self.serial or len(self.roots) == 1:
            data = {root.name: await execution.field(root, info) for root, info in fields}
        else:
            values = await asyncio.gather(*[execution.field(*field) for field in fields])
            data = {root.name: value for root, value in zip(self.roots, values, strict=True)}
        return ExecutionResult(data, execution.errors or None)

    def _coerced(self, given: dict[str, Any]) -> VariableValues | None:
        """The variables where each is given and good; the others, and errors, are graphql-core's to tell."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature in self.signatures:
            name = signature.name
            if name not in given:
                return None
            value = coerced[name] = coerce_input_value(given[name], signature.type)
            if value is Undefined:
                return None
            sources[name] = VariableValueSource(signature, given[name])
        return VariableValues(sources, coerced)

    def _info(
        self, root: Root, definitions: dict[str, FragmentDefinitionNode]
    ) -> GraphQLResolveInfo[Any]:
        """What resolvers are told of their field; a request adds its variables and its context."""
        nodes = [details.node for details in root.details]
        return GraphQLResolveInfo(
            nodes[0].name.value,
            nodes,
            root.field.type,
            cast(GraphQLObjectType, self.schema.get_root_type(self.operation.operation)),
            root.path,
            self.schema,
            definitions,
            None,
            self.operation,
            NOTHING,
            None,
            cast(Any, optimized_is_awaitable),
            None,
            cast(Any, None),  # helpers for work in the background: no resolver here uses them
        )


class Execution:
    """One request's run. No field raises: its error is kept, and null stands in its place."""

    def __init__(self, prepared: Prepared, variables: VariableValues, context: Any) -> None:
        self.prepared, self.variables, self.context = prepared, variables, context
        self.errors: list[GraphQLError] = []

    async def field(self, root: Root, blank: GraphQLResolveInfo[Any]) -> Any:
        """The value of a root field, complete."""
        prepared = self.prepared
        # The plain values, as Strawberry's executor tells them.
        values = cast(VariableValues, self.variables.coerced)
        info = blank._replace(variable_values=values, context=self.context)
        try:
            given = root.arguments.of(self.variables, hide_suggestions=prepared.hide_suggestions)
            value = root.call(prepared.info_class(info, root.definition), **given)
            if root.definition.is_async or optimized_is_awaitable(value):
                value = await value
            if value is None or type(value) is orjson.Fragment:
                return value
            return await self.completed(root, info, value)
        except Exception as error:
            self.errors.append(located_error(error, info.field_nodes, [root.name]))
            return None

    async def completed(self, root: Root, info: GraphQLResolveInfo[Any], value: Any) -> Any:
        """What graphql-core makes of a value that is not finished."""
        prepared = self.prepared
        executor = PassThrough(
            prepared.schema,
            info.fragments,
            prepared.fragments,
            None,
            self.context,
            prepared.operation,
            self.variables,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=optimized_is_awaitable,
            hide_suggestions=prepared.hide_suggestions,
        )
        done = executor.complete_value(root.field.type, root.details, info, root.path, value, None)
        if executor.is_awaitable(done):
            done = await done
        self.errors.extend(executor.collected_errors.errors)
        return done


def prepare(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    *,
    hide_suggestions: bool,
) -> Prepared | None:
    """The prepared form of a valid operation; None for one that is graphql-core's alone.

    That are subscriptions, conditions on root fields, and root fields that Strawberry does not resolve (introspection).
    """
    parent = schema.get_root_type(operation.operation)
    if parent is None or operation.operation is OperationType.SUBSCRIPTION or operation.directives:
        return None
    fragments = {
        node.name.value: FragmentDetails(node)
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    if _conditional(operation, fragments, set()):
        return None
    collected = collect_fields(schema, fragments, NOTHING, parent, operation)
    strawberry_schema: Any = schema._strawberry_schema  # type: ignore[attr-defined] # Strawberry puts itself there
    types = Types(strawberry_schema.config, strawberry_schema.schema_converter.scalar_registry)
    roots: list[Root] = []
    for name, details in collected.grouped_field_set.items():
        root = _root(types, parent, name, details)
        if root is None:
            return None
        roots.append(root)
    return Prepared(schema, operation, fragments, roots, hide_suggestions=hide_suggestions)


def _signatures(
    schema: GraphQLSchema, nodes: Iterable[VariableDefinitionNode]
) -> list[GraphQLVariableSignature]:
    """Names and types of variables. Raises GraphQLError for a type that is none, which validation refuses before."""
    found = [get_variable_signature(schema, node) for node in nodes]
    for signature in found:
        if isinstance(signature, GraphQLError):
            raise signature
    return cast("list[GraphQLVariableSignature]", found)


def _root(
    types: Types, parent: GraphQLObjectType, name: str, details: FieldDetailsList
) -> Root | None:
    node = details[0].node
    field = parent.fields.get(node.name.value)
    definition = field.extensions.get(BACKREF) if field is not None else None
    if field is None or not isinstance(definition, StrawberryField):
        return None
    call = _call(definition)
    if call is None or is_non_null_type(field.type):
        return None
    arguments = Arguments(types, field, node, definition.arguments)
    return Root(name, Path(None, name, parent.name), details, field, definition, arguments, call)


def _call(definition: StrawberryField) -> Callable[..., Any] | None:
    """The resolver as a function of Strawberry's info and the arguments; None where it wants more."""
    resolver = definition.base_resolver
    if resolver is None or definition.extensions:
        return None
    if resolver.root_parameter or resolver.parent_parameter:
        return None
    function: Any = resolver.wrapped_func
    first = (None,) if resolver.self_parameter else ()
    wanted = resolver.info_parameter
    if wanted is None:
        return lambda _info, **given: function(*first, **given)
    if wanted.name != "info":
        return None
    return lambda info, **given: function(*first, info=info, **given)


def _conditional(node: Any, fragments: dict[str, FragmentDetails], seen: set[str]) -> bool:
    """Whether a directive stands at a root field, or at a fragment of root fields."""
    for selection in node.selection_set.selections:
        if selection.directives:
            return True
        if selection.kind == "inline_fragment" and _conditional(selection, fragments, seen):
            return True
        if selection.kind == "fragment_spread" and selection.name.value not in seen:
            seen.add(selection.name.value)
            if _conditional(fragments[selection.name.value].definition, fragments, seen):
                return True
    return False
