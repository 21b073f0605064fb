"""`caretree dev …`: the development stack: servers, the demo world, logins."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dev.faults import Fault, Stopped

# Imports are inside the commands: `dev login` should not wait for what `dev up` needs.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The development stack: servers, demo world, logins.",
)
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what stops us into a sentence and exit code 1."""
    try:
        yield
    except Fault as fault:
        lines = [f"caretree: {fault.sentence}", *(f"  {line}" for line in fault.tail())]
        print("\n".join(lines), file=sys.stderr)
        raise typer.Exit(1) from None
    except (Stopped, BrokenPipeError):
        raise typer.Exit(1) from None


@app.command()
def up() -> None:
    """Start everything and serve, in the foreground; Ctrl-C stops all that this run has started."""
    from dev.servers import root
    from dev.up import main

    raise typer.Exit(main(root()))


@app.command()
def down() -> None:
    """Stop all servers of this checkout, also those of the tests, and a running `up`."""
    with _sentences():
        print(f"Stopped: {', '.join(_stop_all()) or 'nothing was running'}.")


@app.command()
def clean() -> None:
    """Stop everything and delete the data, the passwords and the unpacked Keycloak."""
    from dev.folder import Folder
    from dev.servers import root

    with _sentences():
        _stop_all()
        folder = Folder.open(root())
        for place in {folder.data, folder.root}:
            shutil.rmtree(place)
        print(f"Removed {folder.root}; the next `make up` begins anew.")


def _stop_all() -> list[str]:
    from dev import processes
    from dev.runs import Run
    from dev.servers import Stack, root, root_of_tests

    stopped = []
    run = Run(root())
    if pid := run.pid():
        processes.end(pid, patience=60)
        processes.until(lambda: not Stack(root()).running(), 30)
        stopped.append("make up")
    for place, words in ((root(), ""), (root_of_tests(), " of the tests")):
        if place.exists():
            stopped += [f"{name}{words}" for name in Stack(place).stop()]
    run.forget()
    return stopped


@app.command()
def servers(
    tests: Annotated[bool, typer.Option(help="Those of the tests.")] = False,
    keycloak: Annotated[bool, typer.Option(help="Keycloak as well.")] = True,
) -> None:
    """Start only the servers; they stay until `down`. Prints the environment for the product's commands."""
    from dev.servers import Stack, ensure, root

    with _sentences():
        if tests:
            ensure(keycloak=keycloak)
            return
        stack = Stack(root())
        for start in (stack.start_postgres, stack.start_valkey):
            print(start(), file=sys.stderr)
        if keycloak:
            print(
                stack.start_keycloak(lambda words: print(words, file=sys.stderr)), file=sys.stderr
            )
        env()


@app.command()
def env() -> None:
    """Print the settings of the product on this stack, for `eval "$(caretree dev env)"`."""
    import shlex

    from dev.product import Product
    from dev.servers import Stack, root

    with _sentences():
        for name, value in Product(Stack(root())).settings().items():
            print(f"export {name}={shlex.quote(value)}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what runs where."""
    from dev.status import described, gathered

    with _sentences():
        found = gathered()
        print(json.dumps(found, indent=1) if as_json else described(found))


@app.command()
def reference(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if one differs.")
    ] = False,
) -> None:
    """Write the pages of docs/ that tell the tables and the states, from the code."""
    from dev.reference import stale, write

    with _sentences():
        names = ", ".join(path.name for path in (stale() if check else write()))
        if check and names:
            raise Fault(f"Not what the code says: {names}. Run `caretree dev reference`.")
        print(f"Written: {names}." if names else "The pages are up to date.")


@app.command()
def realms(
    most: Annotated[int, typer.Option(help="How many realms to make.")] = 100,
) -> None:
    """Measure what making and using realms takes with 10, 50 and 100 of them on the tests' Keycloak; minutes."""
    from dev.realms import command

    with _sentences():
        raise typer.Exit(command(most))


@app.command()
def people(as_json: AsJson = False) -> None:
    """List the people of the demo world."""
    from dev.demo import cast
    from dev.welcome import described

    if as_json:
        rows = [*map(_row, cast.CAST), *map(_operator, cast.OPERATORS)]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for member in cast.CAST:
        print(f"{member.login:<26}{member.tenant:<10}{described(member)}")
    for one in cast.OPERATORS:
        print(f"{one.login:<26}{'-':<10}{described(one)}")


def _row(member: Any) -> dict[str, Any]:
    return {
        "login": member.login,
        "tenant": member.tenant,
        "name": f"{member.given_name} {member.family_name}",
        "active": member.active,
        "grants": [{"role": g.role, "unit": g.path, "period": g.period} for g in member.grants],
        "note": member.note,
    }


def _operator(one: Any) -> dict[str, Any]:
    return {
        "login": one.login,
        "tenant": None,
        "name": f"{one.given_name} {one.family_name}",
        "active": True,
        "grants": [],
        "note": one.note,
    }


@app.command()
def login(
    person: Annotated[str, typer.Argument(help="One of `caretree dev people`.")],
    client: Annotated[
        str | None,
        typer.Option(help="The portal to log in to: portal, or admin-portal (as operators do)."),
    ] = None,
) -> None:
    """Log in as somebody of the demo world and print the access token (for five minutes)."""
    from dev.login import log_in
    from dev.servers import root
    from dev.state import State

    with _sentences():
        print(log_in(State(root() / "state.json"), person, client))


@app.command()
def bench(
    patients: Annotated[
        int | None,
        typer.Option(help="How many; by default PATIENTS of the environment, else 500,000."),
    ] = None,
) -> None:
    """Measure against hand-written SQL in one run; writes bench.json into the stack's folder."""
    from dev.bench.main import command

    with _sentences():
        raise typer.Exit(command(patients))


@app.command("bench-scim")
def bench_scim(
    users: Annotated[int, typer.Option(min=200, help="How many the directory has.")] = 50_000,
    effort: Annotated[int, typer.Option(min=10, help="Requests of each quick operation.")] = 200,
) -> None:
    """Measure the door of directories against its bars, beside the stock core in the same run."""
    from dev.bench_scim.main import command

    with _sentences():
        raise typer.Exit(command(users, effort))


@app.command("load-scim")
def load_scim(
    users: Annotated[int, typer.Option(min=10, help="At each of two health systems.")] = 1_000,
    groups: Annotated[int, typer.Option(min=5, help="Likewise.")] = 50,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second of each directory.")] = 25,
) -> None:
    """Let two directories synchronize two health systems at once; fails where anything is lost or refused."""
    from dev.sync_load.main import Size, command

    with _sentences():
        raise typer.Exit(command(Size(users, groups, rate)))


@app.command()
def live(
    trials: Annotated[int, typer.Option(min=1, help="Of each way of cutting somebody off.")] = 200,
    followers: Annotated[int, typer.Option(min=1, help="Open connections that are told.")] = 200,
    inside: Annotated[
        int, typer.Option(min=0, help="Of each way inside Keycloak; 0 leaves Keycloak out.")
    ] = 200,
    away: Annotated[
        int,
        typer.Option(min=0, help="Instead: stop and kill Keycloak, for so many seconds each."),
    ] = 0,
) -> None:
    """Measure how soon changes are told and cuts are felt, with two servers; fails where a bar is missed."""
    from dev.live.away import command as outages
    from dev.live.main import command

    with _sentences():
        raise typer.Exit(outages(away) if away else command(trials, followers, within=inside))


@app.command(hidden=True)
def seed(place: Annotated[Path, typer.Argument(help="The stack's folder.")]) -> None:
    """Make the demo world; called by `up` with the stack's settings in the environment."""
    from dev.seeding import make
    from dev.state import State

    with _sentences():
        state = State(place / "state.json")
        # Whole lines are how it goes; the last one is its answer.
        print(make(state, lambda words: print(words, flush=True)), end="")
