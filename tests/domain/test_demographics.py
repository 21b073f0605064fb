"""What is taken as a name, a date, a telephone number; and the keys that names sort by."""

import datetime as dt
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.keys import check_key
from domain.patients import Demographics, checked, fold
from domain.patients.demographics import name_key
from domain.plain_text import identifier, line, name, optional_identifier, optional_line, passage

TODAY = dt.date(2026, 3, 2)
LETTERS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], max_codepoint=0x2FFFF), min_size=1
)


def check(field: str, value: Any, **others: Any) -> Any:
    given_: Any = {field: value} | others
    return checked(given_, TODAY).get(field)


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("family_name", "  Nu\u0301n\u0303ez ", "Núñez"),
        ("given_name", "孫", "孫"),
        ("preferred_name", "", None),
        ("birth_date", dt.date(1875, 1, 1), dt.date(1875, 1, 1)),
        ("birth_date", dt.date(2026, 3, 3), dt.date(2026, 3, 3)),
        ("birth_date", None, None),
        ("sex", "other", "other"),
        ("phone", "+49 30 901820", "+4930901820"),
        ("phone", None, None),
        ("email", "a.b+c@mail.example.org", "a.b+c@mail.example.org"),
        ("language", "pt-BR", "pt-BR"),
        ("language", "zh-Hant-TW", "zh-Hant-TW"),
        ("postal_code", "SW1A 1AA", "SW1A 1AA"),
        ("country", "US", "US"),
        ("city", "Łódź", "Łódź"),
    ],
)
def test_what_is_taken(field: str, value: Any, stored: Any) -> None:
    assert check(field, value) == stored


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family_name", ""),
        ("family_name", None),
        ("family_name", "123"),
        ("family_name", "O'\x00Brien"),
        ("family_name", "two\nlines"),
        ("family_name", "line\u2028separator"),
        ("family_name", "\ud800a"),
        ("given_name", "x" * 201),
        ("birth_date", dt.date(1874, 12, 31)),
        ("birth_date", dt.date(2026, 3, 4)),
        ("birth_date", dt.datetime(2000, 1, 1, tzinfo=dt.UTC)),
        ("birth_date", "2000-01-01"),
        ("deceased_on", dt.date(2026, 3, 4)),
        ("sex", "F"),
        ("sex", None),
        ("phone", "555"),
        ("phone", "2025550143"),
        ("phone", "+1 555 0143"),
        ("phone", "+1202555014300000000"),
        ("phone", "call me"),
        ("email", "a@b"),
        ("email", "a b@c.org"),
        ("email", "a@" + "b" * 260 + ".org"),
        ("email", "<a@b.org>"),
        ("language", "english please"),
        ("language", "e"),
        ("postal_code", "1234567890123456"),
        ("postal_code", "-"),
        ("country", "usa"),
        ("nickname", "Bo"),
    ],
)
def test_what_is_refused_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(Invalid) as refused:
        check(field, value)
    assert len(refused.value.path) == 1
    assert refused.value.path[0].replace("_", "").lower() == field.replace("_", "")


def test_a_number_is_read_as_written_in_the_country_of_the_address() -> None:
    assert check("phone", "030 901820", country="DE") == "+4930901820"
    known = {"country": "DE"}
    assert checked({"phone": "030 901820"}, TODAY, known)["phone"] == "+4930901820"


def test_death_does_not_come_before_birth() -> None:
    born: Demographics = {"birth_date": dt.date(1980, 1, 2)}
    for given_, known in (
        ({"birth_date": dt.date(1980, 1, 2), "deceased_on": dt.date(1980, 1, 1)}, {}),
        ({"deceased_on": dt.date(1980, 1, 1)}, dict(born)),
        (dict(born), {"deceased_on": dt.date(1980, 1, 1)}),
    ):
        asked: Any = given_
        with pytest.raises(Invalid) as refused:
            checked(asked, TODAY, known)
        assert refused.value.path == ("deceasedOn",)
    same: Demographics = {"birth_date": dt.date(1980, 1, 2), "deceased_on": dt.date(1980, 1, 2)}
    assert checked(same, TODAY)


def test_what_is_not_given_is_not_written() -> None:
    assert checked({"family_name": "Li"}, TODAY) == {"family_name": "Li", "family_key": "li"}
    assert checked({}, TODAY) == {}
    assert "national_id" not in checked({"national_id": "1"}, TODAY)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("O’Brien-Smith", "o brien smith"),
        ("Nu\u0301ñez", "nunez"),
        ("Straße", "strasse"),
        ("ΠΑΠΑΔΌΠΟΥΛΟΣ", "papadopoylos"),
        ("  van   der Berg ", "van der berg"),
        ("ﬁsher", "fisher"),
    ],
)
def test_keys_of_names(written: str, key: str) -> None:
    assert fold(written) == key


@settings(deadline=None)
@given(LETTERS)
@example("İstanbul")
@example("ǅ")
def test_a_key_is_plain_and_its_own_key(text: str) -> None:
    key = fold(text)
    assert fold(key) == key
    assert key.isascii()
    assert key == key.lower() == " ".join(key.split())


@settings(deadline=None)
@given(LETTERS)
def test_the_key_does_not_depend_on_how_letters_are_composed(text: str) -> None:
    forms = {fold(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
    assert len(forms) == 1


@settings(deadline=None)
@given(LETTERS)
def test_a_stored_name_is_normal_and_has_a_key(text: str) -> None:
    try:
        stored = name(text, "familyName")
    except Invalid:
        return
    assert stored == unicodedata.normalize("NFC", stored) == stored.strip()
    assert name(stored) == stored
    assert name_key(stored)


def test_passages_keep_lines_and_lines_do_not() -> None:
    assert passage(" S: cough\r\n\tdry \n") == "S: cough\n\tdry"
    assert optional_line("  ") is None
    assert line(" a ", maximum=1) == "a"
    for text in ("", " \n ", "x" * 100_001, "bell\x07"):
        with pytest.raises(Invalid):
            passage(text, "body")
    assert len(passage("x" * 100_000)) == 100_000


REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("mark", REORDERING)
def test_no_text_shows_itself_in_another_order(mark: str) -> None:
    for take in (line, name, passage, optional_line, identifier):
        for text in (f"ab{mark}cd", f"{mark}ab", f"ab{mark}"):
            with pytest.raises(Invalid) as refused:
                take(text, "field")
            assert refused.value.path == ("field",)


@pytest.mark.parametrize(
    "text", ["می\u200cخواهم", "क्\u200dष", "ශ්\u200dරී", "abc\u200e אבג", "co\u00adoperate"]
)
def test_joiners_and_marks_belong_to_texts_and_not_to_identifiers(text: str) -> None:
    for take in (line, name, passage, optional_line):
        assert take(text, "field") == unicodedata.normalize("NFC", text)
    for take in (identifier, optional_identifier):
        with pytest.raises(Invalid) as refused:
            take(text, "field")
        assert refused.value.path == ("field",)


def test_every_character_that_is_not_seen_is_refused_in_an_identifier() -> None:
    unseen = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == "Cf"]
    assert len(unseen) > 100
    for c in unseen:
        with pytest.raises(Invalid):
            identifier(f"A{c}1", "mrn")
        with pytest.raises(Invalid):
            check_key(f"A{c}1")
    assert optional_identifier(" ") is None
    assert identifier(" A-1/ß ", "mrn") == "A-1/ß"
