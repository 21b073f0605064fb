"""What a reminder says: values in their places, in the words of a language, and nothing that is not meant to be there."""

import datetime as dt

import pytest

from domain.errors import Invalid
from domain.reminders.wording import DEFAULT, Wording, checked, filled, values

STARTS = dt.datetime(2026, 3, 9, 3, 30, tzinfo=dt.UTC)


def said(wording: Wording, zone: str = "America/Chicago", phone: str | None = "+1") -> str:
    told = values(wording, STARTS, zone, patient="Zora", name="Lakeside", phone=phone)
    return f"{filled(wording.subject, told)}\n{filled(wording.body, told)}"


def test_the_time_is_told_by_the_clocks_of_the_zone_and_the_words_of_the_language() -> None:
    english = said(DEFAULT).replace("\u202f", " ")
    assert english.startswith("Your appointment on Sunday, March 8, 2026\nHello Zora,\n")
    assert "\nSunday, March 8, 2026, 10:30 PM.\n" in english
    german = Wording("de-AT", "{date}", "{time}")
    assert said(german, "Europe/Vienna") == "Montag, 9. März 2026\n04:30"


def test_a_line_whose_value_is_not_there_is_left_out() -> None:
    assert "call" in said(DEFAULT)
    assert "call" not in said(DEFAULT, phone=None)


def test_a_value_that_looks_like_a_place_is_none() -> None:
    told = values(DEFAULT, STARTS, "UTC", patient="{phone}", name="{date}", phone="{patient}")
    assert filled("{patient} {name} {phone}", told) == "{phone} {date} {patient}"


def test_the_products_own_wording_is_one_that_could_be_stored() -> None:
    stored = checked(DEFAULT.language, DEFAULT.subject, DEFAULT.body)
    assert stored.body == DEFAULT.body.strip()


@pytest.mark.parametrize(
    "text",
    ["{service}", "{practitioner}", "{Patient}", "{}", "{ date }", "{date:%Y}", "{patient!r}", "{", "}", "{{date}}"],
)  # fmt: skip
def test_nothing_else_can_be_put_in(text: str) -> None:
    for subject, body, path in ((text, "At {time}", "subject"), ("On {date}", text, "body")):
        with pytest.raises(Invalid) as refused:
            checked("en", subject, body)
        assert (refused.value.path, refused.value.code) == ((path,), "UNKNOWN_PLACE")


@pytest.mark.parametrize("language", ["", "xx-yy", "tlh", "en_US", "../etc", "e" * 40])
def test_a_language_is_one_that_dates_can_be_told_in(language: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked(language, "s", "b")
    assert refused.value.path == ("language",)
