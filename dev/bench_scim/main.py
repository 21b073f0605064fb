"""`caretree dev bench-scim`: the door of directories against its bars, beside the stock core in the same run."""

from dataclasses import dataclass, field
from pathlib import Path

from dev.bench.durable import durable
from dev.bench_scim.contest import Figure, grown, one, served
from dev.bench_scim.data import build
from dev.bench_scim.operations import SIZES, Operation, operations
from dev.databases import DatabaseUrls, draw_passwords, prepare
from dev.servers import Stack, root

USERS, EFFORT = 50_000, 200
MEMORY, MEMBERS = 32.0, 10_000
"""MiB by which a process may grow while it replaces a group of so many members."""
FLAT = 1.5
"""By so much a change of one member may be slower in the largest group than in the smallest."""


@dataclass
class Found:
    """All that a run found out. `memory`: MiB by contestant."""

    operations: list[Operation] = field(default_factory=list)
    figures: dict[tuple[str, str], Figure] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """The bars that were not reached, in words."""
        out = []
        for operation in self.operations:
            value, unit = self.figures["product", operation.name].value, operation.unit
            if value > operation.bar if unit == "ms" else value < operation.bar:
                out.append(f"{operation.name}: {value:.1f} {unit}, the bar is {operation.bar:g}")
        for kind in ("member PATCH", "GET of a group"):
            times = [
                self.figures["product", o.name].value
                for o in self.operations
                if o.name.startswith(kind)
            ]
            if len(times) > 1 and times[-1] > times[0] * FLAT:
                out.append(f"{kind}: {times[-1] / times[0]:.1f} times as long in the largest group")
        if self.memory["product"] > MEMORY:
            out.append(f"a PUT of {MEMBERS:,} members takes {self.memory['product']:.0f} MiB")
        return out

    def lines(self) -> list[str]:
        """A table for people."""
        head = ("", "product", "bar", "p99 ms", "server ms", "database ms", "stock", "ratio")
        out = ["{:<42}{:>12}{:>9}{:>9}{:>11}{:>13}{:>12}{:>8}".format(*head)]
        for o in self.operations:
            ours, stock = self.figures["product", o.name], self.figures.get(("stock", o.name))
            line = (
                f"{o.name:<42}{ours.value:>9.1f} {o.unit}{o.bar:>9g}{ours.p99:>9.1f}{ours.server_ms:>11.2f}"
                f"{ours.database_ms:>13.2f}"
            )
            if stock is not None:
                ratio = stock.value / ours.value if o.unit == "ms" else ours.value / stock.value
                line += f"{stock.value:>9.1f} {o.unit}{ratio:>8.1f}"
            out.append(line)
        mine, theirs = (self.memory[who] for who in ("product", "stock"))
        name = f"memory of a PUT of {MEMBERS:,} members"
        out.append(
            f"{name:<42}{mine:>8.0f} MiB{MEMORY:>9g}{'':>33}{theirs:>8.0f} MiB{theirs / max(mine, 1):>8.1f}"
        )
        return out


def command(users: int = USERS, effort: int = EFFORT) -> int:
    """Measure on the stack's own PostgreSQL; 1 where a bar was missed."""
    stack = Stack(root())
    was_running = stack.postgres.pid() is not None
    say(f"PostgreSQL: {stack.start_postgres()}")
    try:
        passwords = stack.state.drawn("database", "passwords", draw=draw_passwords)
        urls = prepare(stack.database_url, "caretree_bench_scim", passwords)
        with durable(stack.database_url) as held:
            say(f"commits reach the disk: {held}")
            found = measure(urls, stack.folder.root, users, effort)
    finally:
        if not was_running:
            stack.stop([stack.postgres.name])
    print("\n" + "\n".join(found.lines()) + "\n", flush=True)
    short = found.missed()
    for sentence in short:
        print(f"MISSED: {sentence}.", flush=True)
    return int(bool(short))


def say(words: str) -> None:
    """A line of progress."""
    print(f"  {words}", flush=True)


def measure(urls: DatabaseUrls, folder: Path, users: int, effort: int) -> Found:
    """Each operation at the product and at the stock core, one after the other, over the same rows."""
    sizes = [size for size in SIZES if size <= users]
    build(urls.owner, users, sizes, say)
    found = Found()
    for name in ("product", "stock"):
        with served(urls, folder, name) as server:
            found.operations = list(operations(users, effort))
            for operation in found.operations:
                if name == "stock" and not operation.stock:
                    continue
                kept = operation.requests[-operation.stock :]
                figure = one(urls, server, operation, kept if name == "stock" else None)
                found.figures[name, operation.name] = figure
                say(f"{name:<9}{operation.name:<42}{figure.value:9.1f} {operation.unit}")
            members = min(MEMBERS, sizes[-1])
            found.memory[name] = grown(server, members, 3 if name == "product" else 1)
    return found
