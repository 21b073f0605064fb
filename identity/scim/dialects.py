"""What real directories send that the RFCs have not, brought into their form. Each entry has a test that names its page.

Bodies only, before they are validated: PATCH requests by `patch`, whole resources by `whole`. What is not understood is
left as it is, and refused by the validation that follows.
"""

import re
from typing import Any

from identity.scim.schemas import CLINICAL, ENTERPRISE, GROUP, USER

READ_ONLY = frozenset({"groups", "id", "meta", "schemas"})
KNOWN = {urn.lower(): urn for urn in (USER, GROUP, ENTERPRISE, CLINICAL)}
_OPERATION = ("op", "path", "value")
_TRUTHS = {"true": True, "false": False}
_MANAGER = f"{ENTERPRISE}:manager"
_AFTER_BRACKETS = re.compile(
    r'("(?:[^"\\]|\\.)*")|(\w+)\[([^\[\]]+)\](?:\.(\w+))?\s+(eq|ne|co|sw|ew)\s+("(?:[^"\\]|\\.)*")',
    re.IGNORECASE,
)
_STRINGS = frozenset({"employeenumber", "costcenter", "externalid", "npi", "licence"})
"""Attributes of which numbers are sent."""
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def whole(body: Any) -> Any:
    """A resource as it is sent to be made or replaced."""
    if not isinstance(body, dict):
        return body
    out: dict[str, Any] = {}
    for name, value in body.items():
        low = name.lower()
        if low in ("groups", "id", "meta"):
            continue
        if low.startswith("urn:") and low not in KNOWN:
            continue  # a schema that nobody here knows (Entra's without the compliance flag)
        if low == "schemas":
            out[name] = _schemas(value)
        elif low in KNOWN and isinstance(value, dict):
            out[KNOWN[low]] = {k: _value(k, v) for k, v in value.items()}
        else:
            out[name] = _value(low, value)
    return out


def patch(body: Any) -> Any:
    """A PATCH request: each operation with `op`, `path` and `value` alone; none is left where only ours was sent."""
    if not isinstance(body, dict):
        return body
    named = {name.lower(): value for name, value in body.items()}
    operations = named.get("operations")
    if not isinstance(operations, list):
        return body
    out = [made for sent in operations for made in _operation(sent)]
    if operations and not out:
        out = [{"op": "replace", "value": {}}]  # nothing but what is ours to say: no change
    return {"schemas": named.get("schemas", [PATCH_SCHEMA]), "Operations": out}


def _operation(sent: Any) -> list[Any]:
    if not isinstance(sent, dict):
        return [sent]
    named = {name.lower(): value for name, value in sent.items() if name.lower() in _OPERATION}
    if isinstance(named.get("op"), str):
        named["op"] = named["op"].lower()
    path = named.get("path")
    if not path:
        return _pathless(named)
    if isinstance(path, str):
        if path.lower() in READ_ONLY:
            return []
        if "value" in named:
            named["value"] = _valued(str(named.get("op", "")), path, named["value"])
            if named["value"] is None and named.get("op") in ("add", "replace"):
                named["op"] = "remove"
                del named["value"]
    return [named]


def sought(text: str) -> str:
    """A filter with its comparisons after brackets drawn into them (`emails[type eq "work"].value eq "x"`)."""

    def drawn(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]  # a string, whatever it looks like
        return f"{found[2]}[({found[3]}) and {found[4] or 'value'} {found[5]} {found[6]}]"

    return _AFTER_BRACKETS.sub(drawn, text)


def _pathless(named: dict[str, Any]) -> list[Any]:
    """An operation without a path, its read-only attributes left out; its dotted and URN keys become paths."""
    value = named.get("value")
    named.pop("path", None)
    if not isinstance(value, dict):
        return [named]
    plain: dict[str, Any] = {}
    paths: list[Any] = []
    for name, said in value.items():
        low = name.lower()
        if low in READ_ONLY:
            continue
        if low in KNOWN and isinstance(said, dict):
            paths += [step(named, f"{KNOWN[low]}:{k}", v) for k, v in said.items()]
        elif low.startswith("urn:") and not _of_ours(low):
            continue
        elif low.startswith("urn:") or "." in name or "[" in name or low == "manager":
            path = _MANAGER if low == "manager" else name
            paths.append(step(named, path, said))
        else:
            plain[name] = _value(low, said)
    first = [{**named, "value": plain}] if plain else []
    return first + paths


def step(named: dict[str, Any], path: str, said: Any) -> dict[str, Any]:
    """One attribute of an operation without a path, as an operation of its own."""
    made = {**named, "path": path, "value": _valued(str(named.get("op", "")), path, said)}
    if made["value"] is None:
        return {"op": "remove", "path": path}
    return made


def _of_ours(low: str) -> bool:
    return any(low.startswith(f"{urn}:") for urn in KNOWN)


def _valued(op: str, path: str, value: Any) -> Any:
    """The value of an operation. Members to be removed are named by `value` alone: all else would be a condition."""
    low = path.lower()
    if op == "remove" and isinstance(value, list | dict):
        entries = value if isinstance(value, list) else [value]
        named = [
            {k: v for k, v in e.items() if k.lower() == "value"} for e in entries if _object(e)
        ]
        return named if len(named) == len(entries) and all(named) else value
    return _value(low.rsplit(":", 1)[-1].rsplit(".", 1)[-1], value, low)


def _object(entry: Any) -> bool:
    return isinstance(entry, dict)


def _value(name: str, value: Any, path: str = "") -> Any:
    """An attribute's value in its type."""
    low = name.lower()
    if low in ("active", "primary") and isinstance(value, str):
        return _TRUTHS.get(value.lower(), value)
    if low == "manager" or path.endswith((":manager", ":manager.value")):
        return _manager(value, part=path.endswith(".value"))
    if low in _STRINGS and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return [_entry(entry) for entry in value]
    return value


def _entry(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {k: _value(k, v) if k.lower() != "manager" else v for k, v in entry.items()}


def _manager(value: Any, *, part: bool) -> Any:
    """The manager as an object, None for nobody; some send its id as text or number, in a list, or empty."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        found = next((v for k, v in value.items() if k.lower() == "value"), None)
        if found in (None, ""):
            return None
        return {**{k: v for k, v in value.items() if k.lower() != "value"}, "value": str(found)}
    if value in (None, ""):
        return None
    return str(value) if part else {"value": str(value)}


def _schemas(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [KNOWN.get(u.lower(), u) for u in value if not isinstance(u, str) or u.lower() in KNOWN]
