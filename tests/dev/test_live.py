"""Two servers of the API over one database: changes are told to who follows, and cuts are felt within a second."""

from pathlib import Path

from dev.databases import DatabaseUrls
from dev.live.cuts import WAYS
from dev.live.main import Found, measure
from dev.live.outage import Load, Outage
from tests.database import Database

PEOPLE = 8


def test_changes_are_told_and_cuts_are_felt_at_both_servers(
    empty_database: Database, tmp_path: Path
) -> None:
    bare = empty_database
    urls = DatabaseUrls(
        bare.owner_url, bare.app_url, bare.worker_url, bare.audit_url, bare.platform_url
    )
    found = measure(urls, tmp_path, trials=2, followers=PEOPLE, changes=3)
    assert len(found.told) == 3 * PEOPLE
    assert set(found.felt) == set(WAYS)
    assert {len(times) for times in found.felt.values()} == {2}
    assert not found.missed, found.lines()


def test_it_says_what_it_found() -> None:
    found = Found([0.01] * 200, {"disabled": [0.4, 1.2]})
    assert found.missed == ["disabled"]
    told, felt = found.lines()
    assert "200 events" in told
    assert "max 1200.0 ms" in felt
    assert felt.endswith("MISSED")
    # A cut inside Keycloak may take five seconds.
    assert not Found([], {"Keycloak: user disabled": [1.2, 4.9]}).missed


def test_an_outage_says_which_bars_were_missed() -> None:
    quiet, loaded = (Load({"worker": n}, {"worker": 100.0 + n}, n) for n in (10, 60))
    fine = Outage("stopped", 60, before=quiet, most=quiet.most(loaded), after=quiet)
    fine.back["a login"] = 2.0
    fine.working.add(b'{"data": "Appointment:1"}'.replace(b'": "', b'": [{"id": "'), 0.1)
    told = b'{"errors": [{"extensions": {"code": "%s"}}]}'
    fine.strangers.add(told % b"UNAVAILABLE", 3.0)
    assert fine.missed == []
    assert "all bars held" in fine.lines()[0]
    assert any("60 jobs" in line for line in fine.lines())
    bad = Outage("killed", 60, before=quiet, most=loaded, after=loaded, shut_out=2.0)
    bad.back["a login"] = 200.0
    bad.working.add(told % b"UNAUTHENTICATED", 6.0)
    bad.strangers.add(b"<html>", 0.1)
    assert len(bad.missed) == 8
    assert bad.strangers.codes == {"OTHER": 1}
