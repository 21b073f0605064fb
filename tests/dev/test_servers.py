"""PostgreSQL and Valkey start, are found again, and come back after every way of being killed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
import redis

from dev import processes
from dev.faults import Fault
from dev.folder import CHECKOUT
from dev.servers import Stack
from tests.dev.conftest import naming
from tests.dev.test_ports import listening


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are embedded ones, whatever the others use."""
    for name in ("DATABASE_URL", "REDIS_URL", "KEYCLOAK_URL", "KEYCLOAK_HOME"):
        monkeypatch.delenv(name, raising=False)


def rows(stack: Stack) -> int:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("create table if not exists kept (id int)")
        connection.execute("insert into kept values (1)")
        row = connection.execute("select count(*) from kept").fetchone()
    assert row is not None
    return int(row[0])


def test_postgres_starts_once_and_is_found_again(stack: Stack) -> None:
    assert stack.postgres.start() is True
    pid = stack.postgres.pid()
    assert rows(stack) == 1
    assert Stack(stack.folder.root).postgres.start() is False
    assert stack.postgres.pid() == pid
    stack.postgres.stop()
    assert stack.postgres.pid() is None
    assert stack.postgres.start() is True
    assert rows(stack) == 2


def test_postgres_comes_back_after_a_kill_with_what_was_committed(stack: Stack) -> None:
    stack.postgres.start()
    rows(stack)
    pid = stack.postgres.pid()
    assert pid is not None
    os.kill(pid, 9)
    assert processes.until(lambda: stack.postgres.pid() is None, 5)
    assert (stack.postgres.data / "postmaster.pid").exists()
    assert stack.postgres.start() is True
    assert rows(stack) == 2


def test_a_pid_file_with_somebody_elses_number_does_not_stop_a_start(stack: Stack) -> None:
    stack.postgres.start()
    stack.postgres.stop()
    stale = f"{os.getpid()}\n{stack.postgres.data}\n1\n5432\n\n127.0.0.1\n  1 1\nready   \n"
    (stack.postgres.data / "postmaster.pid").write_text(stale)
    assert stack.postgres.pid() is None
    assert stack.postgres.start() is True


def test_half_a_cluster_is_made_anew(stack: Stack) -> None:
    for half in (stack.postgres.data, stack.folder.data / "making" / "postgres"):
        half.mkdir(parents=True)
        (half / "postgresql.conf").write_text("half")
    assert stack.postgres.start() is True
    assert rows(stack) == 1


def test_six_starts_at_once_make_one_server(stack: Stack) -> None:
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.append(Stack(stack.folder.root).postgres.start()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 5 + [True]


def test_a_start_killed_in_the_middle_leaves_a_folder_that_starts(stack: Stack) -> None:
    script = "import sys; from pathlib import Path; from dev.servers import Stack; Stack(Path(sys.argv[1])).start_postgres()"
    starting = subprocess.Popen(
        [sys.executable, "-c", script, str(stack.folder.root)], cwd=CHECKOUT
    )
    making = stack.folder.data / "making"
    assert processes.until(lambda: any(making.glob("*/postgresql.conf")), 20)
    starting.kill()
    starting.wait()
    assert stack.postgres.start() is True
    assert rows(stack) == 1


def test_a_taken_port_makes_postgres_move(stack: Stack) -> None:
    with listening() as taken:
        stack.state.put(taken, "postgres", "port")
        stack.postgres.start()
        assert stack.state.get("postgres", "port") != taken
        assert rows(stack) == 1


def test_valkey_starts_once_is_found_and_comes_back_after_a_kill(stack: Stack) -> None:
    assert stack.valkey.start() is True
    assert stack.valkey.start() is False
    pid = stack.valkey.pid()
    assert pid is not None
    with redis.Redis.from_url(stack.redis_url) as client:
        assert client.ping()
    os.kill(pid, 9)
    assert processes.until(lambda: stack.valkey.pid() is None, 5)
    assert stack.valkey.start() is True
    stack.valkey.stop()
    assert stack.valkey.pid() is None


def test_valkey_without_its_note_is_replaced_not_doubled(stack: Stack) -> None:
    stack.valkey.start()
    first = stack.valkey.pid()
    (stack.folder.root / "valkey.pid").unlink()
    assert stack.valkey.start() is True
    assert first is not None
    assert processes.living(first) is None


def test_nobody_without_the_password_gets_in(stack: Stack) -> None:
    stack.start_postgres()
    stack.start_valkey()
    port = stack.state.get("valkey", "port")
    with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(stack.database_url.replace("postgres:", "postgres:x"))


def test_passwords_are_in_no_command_line_and_no_log(stack: Stack) -> None:
    stack.start_postgres()
    stack.start_valkey()
    rows(stack)
    secrets = [stack.state.get(server, "password") for server in ("postgres", "valkey")]
    shown = [" ".join(processes.command(pid)) for pid in naming(stack.folder.root)]
    shown += [path.read_text() for path in (stack.folder.data / "log").iterdir()]
    assert not [text for text in shown for word in secrets if word in text]


def test_servers_of_the_environment_replace_embedded_ones(
    stack: Stack, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://admin@example.invalid/postgres")
    monkeypatch.setenv("REDIS_URL", "redis://example.invalid/0")
    monkeypatch.setenv("KEYCLOAK_URL", "https://example.invalid/")
    assert "DATABASE_URL" in stack.start_postgres()
    assert "REDIS_URL" in stack.start_valkey()
    with pytest.raises(Fault, match="KEYCLOAK_ADMIN_CLIENT_ID"):
        stack.start_keycloak()
    monkeypatch.setenv("KEYCLOAK_ADMIN_CLIENT_ID", "us")
    monkeypatch.setenv("KEYCLOAK_ADMIN_CLIENT_SECRET", "word")
    assert "KEYCLOAK_URL" in stack.start_keycloak()
    found = stack.servers()
    assert found.keycloak_url == "https://example.invalid"
    assert found.redis_url == "redis://example.invalid/0"
    assert stack.running() == {}
    assert not (place / "postgres").exists()
