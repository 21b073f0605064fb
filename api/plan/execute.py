"""Execution that hands finished JSON through: what a plan returned needs no completion."""

from typing import Any

import orjson
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext


class PassThrough(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor; an `orjson.Fragment` is complete whatever its type."""

    def complete_value(self, return_type: Any, *args: Any, **kwargs: Any) -> Any:
        """Complete a resolver's result; `result` stands at its place in `args` or in `kwargs`."""
        result = kwargs["result"] if "result" in kwargs else args[3]
        if type(result) is orjson.Fragment:
            return result
        return super().complete_value(return_type, *args, **kwargs)
