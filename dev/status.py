"""What of the development stack runs, and where."""

from typing import Any

from dev import ports
from dev.demo import cast
from dev.product import PLATFORM, SYSTEMS, Product
from dev.runs import Run
from dev.servers import Stack, root

KEYS = {"PostgreSQL": "postgres", "Valkey": "valkey", "Keycloak": "keycloak"}


def gathered() -> dict[str, Any]:
    """URLs without passwords, ports and process numbers; None for what does not run."""
    stack, run = Stack(root()), Run(root())
    product, state, running = Product(stack), stack.state.read(), stack.running()
    details = run.details() if run.pid() else {}
    api_port = details.get("port") or state.get("api", {}).get("port")
    children = details.get("children")
    return {
        "root": str(root()),
        "urls": {
            "graphql": f"{product.url}/graphql",
            "api": product.url,
            "platform": f"{product.platform_url}/graphql",
            "keycloak": stack.keycloak_url,
        },
        "ports": {
            "api": api_port,
            PLATFORM: state.get(PLATFORM, {}).get("port"),
            **{key: state.get(key, {}).get("port") for key in KEYS.values()},
        },
        "pids": {
            "up": run.pid(),
            **(children if isinstance(children, dict) else {}),
            **{key: running.get(name) for name, key in KEYS.items()},
        },
        "serving": bool(details) and ports.is_open(int(str(api_port or 0))),
        "systems": state.get(SYSTEMS, {}),
        "operators": state.get("operators", {}),
        "people": len(cast.CAST),
    }


def described(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"GraphQL    {found['urls']['graphql']}  ({'serving' if found['serving'] else 'not running'})"
    ]
    for name, key in KEYS.items():
        pid = found["pids"].get(key)
        state = f"process {pid}" if pid else "not running"
        lines.append(f"{name:<11}port {found['ports'].get(key)}  ({state})")
    lines.append(f"Data       {found['root']}")
    return "\n".join(lines)
