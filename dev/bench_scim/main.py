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


@dataclass(frozen=True)
class Bar:
    """Something measured beside what is asked of it: at most, or of `/s` at least."""

    name: str
    value: float
    unit: str
    bar: float

    @property
    def is_reached(self) -> bool:
        return self.value >= self.bar if self.unit == "/s" else self.value <= self.bar


@dataclass
class Found:
    """All that a run found out. `memory`: MiB by contestant."""

    operations: list[Operation] = field(default_factory=list)
    figures: dict[tuple[str, str], Figure] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    def bars(self) -> list[Bar]:
        """Everything that has a bar, and what it gave."""
        out = [
            Bar(o.name, self.figures["product", o.name].value, o.unit, o.bar)
            for o in self.operations
        ]
        for kind in ("member PATCH", "GET of a group"):
            times = [bar.value for bar in out if bar.name.startswith(kind)]
            if len(times) > 1:
                name = f"{kind}, largest group to smallest"
                out.append(Bar(name, times[-1] / times[0], "times", FLAT))
        memory = f"memory of a PUT of {MEMBERS:,} members"
        return [*out, Bar(memory, self.memory["product"], "MiB", MEMORY)]

    def lines(self) -> list[str]:
        """A table for people: each bar, whether it is reached, and what the stock core took in the same run."""
        head = ("", "product", "bar", "", "p99 ms", "server ms", "database ms", "stock", "ratio")
        form = "{:<44}{:>14}{:>7}  {:<6}{:>9}{:>11}{:>13}{:>14}{:>8}"
        out = [form.format(*head)]
        for bar in self.bars():
            ours, stock = (self.figures.get((who, bar.name)) for who in ("product", "stock"))
            cost: tuple[str, ...] = ("", "", "")
            if ours is not None:
                figures = (ours.p99, ours.server_ms, ours.database_ms)
                cost = tuple(f"{figure:.2f}" for figure in figures)
            theirs = stock.value if stock else None
            if bar.unit == "MiB":
                theirs = self.memory["stock"]
            beside = ("", "")
            if theirs is not None:
                ratio = bar.value / theirs if bar.unit == "/s" else theirs / max(bar.value, 1e-9)
                beside = (f"{theirs:.1f} {bar.unit}", f"{ratio:.1f}")
            value, reached = f"{bar.value:.1f} {bar.unit}", "pass" if bar.is_reached else "MISSED"
            out.append(form.format(bar.name, value, f"{bar.bar:g}", reached, *cost, *beside))
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
    bars = found.bars()
    missed = [bar.name for bar in bars if not bar.is_reached]
    print(f"{len(bars) - len(missed)} of {len(bars)} bars are reached.", flush=True)
    for name in missed:
        print(f"MISSED: {name}.", flush=True)
    return int(bool(missed))


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
