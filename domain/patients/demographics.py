"""What a patient's demographics must be before they are stored."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import phonenumbers

from domain.errors import Invalid
from domain.organization import known_zone
from domain.patients.record import Channel, Sex, fold
from domain.plain_text import EMAIL, name, optional_identifier, optional_line

BORN_AT_THE_EARLIEST = 1875
"""Nobody alive was born before; whoever is older than the oldest person ever known is a typing error."""
# RFC 5646 section 2.1 without private use and grandfathered tags: language, script, region, variants.
LANGUAGE = re.compile(
    r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*"
)
POSTAL_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]{0,14}")
COUNTRY = re.compile(r"[A-Z]{2}")


class Demographics(TypedDict, total=False):
    """What is known of a patient. A key that is missing says nothing; None takes a value away.

    `phone` in E.164 (+12025550143) or as written in the country of the address; `language` a BCP 47 tag;
    `country` ISO 3166-1 alpha-2; `zone` an IANA name; `reminder_opt_outs` the channels by which
    the patient wants no reminders; `national_id` as the country writes it, stored sealed.
    """

    family_name: str
    given_name: str
    preferred_name: str | None
    birth_date: dt.date | None
    sex: str
    gender_identity: str | None
    phone: str | None
    email: str | None
    language: str | None
    address_line: str | None
    city: str | None
    postal_code: str | None
    country: str | None
    zone: str | None
    reminder_opt_outs: list[str] | None
    deceased_on: dt.date | None
    national_id: str | None


def checked(
    given: Demographics, today: dt.date, known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The columns to write: every given value normalized, the keys of names made. Raises Invalid with the field.

    `known` are the values of the patient so far, against which a change is judged (country of a phone number,
    birth before death). A `national_id` is left out: it is sealed by the command.
    """
    unknown = set(given) - set(Demographics.__annotations__)
    if unknown:
        raise Invalid("There is no such field.", path=(sorted(unknown)[0],))
    before = dict(known or {})
    columns: dict[str, Any] = {}
    country = given.get("country", before.get("country"))
    for field, value in given.items():
        if field == "phone":
            columns[field] = phone(value, country)  # type: ignore[arg-type]  # items() forgets the types of a TypedDict
        elif field in CHECKS:
            columns[field] = CHECKS[field](value)
    for field in ("birth_date", "deceased_on"):
        if field in given:
            columns[field] = day(given[field], today, field)  # type: ignore[literal-required]  # both are keys
    both = before | columns
    born, died = both.get("birth_date"), both.get("deceased_on")
    if born and died and died < born:
        raise Invalid("Death cannot come before birth.", path=("deceasedOn",))
    for field in ("family_name", "given_name"):
        if field in columns:
            columns[field.replace("name", "key")] = name_key(columns[field])
    return columns


def name_key(value: str) -> str:
    """The key of a name; of the rare one that no transliteration knows, the name itself in lower case."""
    return fold(value) or value.casefold()


def day(value: object, today: dt.date, field: str) -> dt.date | None:
    """A day of somebody's life: not in the future, and of the last century and a half."""
    path = "birthDate" if field == "birth_date" else "deceasedOn"
    if value is None:
        return None
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise Invalid("This is no date.", path=(path,))
    # Tomorrow has begun somewhere: a child born there is not of the future.
    if value > today + dt.timedelta(days=1):
        raise Invalid("This day is in the future.", path=(path,))
    if value.year < BORN_AT_THE_EARLIEST:
        raise Invalid(f"This day is before {BORN_AT_THE_EARLIEST}.", path=(path,))
    return value


def phone(value: str | None, country: str | None) -> str | None:
    """A telephone number in E.164. A number without + is read as written in the country."""
    plain = optional_line(value, "phone", maximum=40)
    if plain is None:
        return None
    region = country if country in phonenumbers.SUPPORTED_REGIONS else None
    try:
        number = phonenumbers.parse(plain, region)
    except phonenumbers.NumberParseException:
        number = None
    # "Possible", not "valid": the plan of numbers changes faster than any list of it. Nor only within a city.
    possible = phonenumbers.ValidationResult.IS_POSSIBLE
    if number is None or phonenumbers.is_possible_number_with_reason(number) != possible:
        raise Invalid("This is no telephone number; write it as +12025550143.", path=("phone",))
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def shaped(pattern: re.Pattern[str], path: str, message: str) -> Callable[[Any], str | None]:
    """A check that a line, if there is one, has the shape."""

    def check(value: Any) -> str | None:
        plain = optional_identifier(value, path, maximum=320)
        if plain is not None and not pattern.fullmatch(plain):
            raise Invalid(message, path=(path,))
        return plain

    return check


def sex(value: Any) -> str:
    """One of FHIR's administrative genders."""
    if value not in Sex.__members__.values():
        raise Invalid("This is none of male, female, other, unknown.", path=("sex",))
    return Sex(value).value


def zone(value: Any) -> str | None:
    """An IANA time zone, or nothing: the clinic's."""
    plain = optional_line(value, "zone", maximum=60)
    return None if plain is None else known_zone(plain)


def opt_outs(value: Any) -> list[str]:
    """Channels, each once, in their order."""
    given = set(value or ())
    if given - set(Channel):
        raise Invalid("There is no such channel.", path=("reminderOptOuts",))
    return [channel.value for channel in Channel if channel in given]


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "family_name": lambda value: name(value or "", "familyName"),
    "given_name": lambda value: name(value or "", "givenName"),
    "preferred_name": lambda value: optional_line(value, "preferredName"),
    "sex": sex,
    "gender_identity": lambda value: optional_line(value, "genderIdentity"),
    "email": shaped(EMAIL, "email", "This is no e-mail address."),
    "language": shaped(LANGUAGE, "language", "This is no language tag; write it as en or pt-BR."),
    "address_line": lambda value: optional_line(value, "addressLine"),
    "city": lambda value: optional_line(value, "city"),
    "postal_code": shaped(POSTAL_CODE, "postalCode", "This is no postal code."),
    "zone": zone,
    "reminder_opt_outs": opt_outs,
    "country": shaped(COUNTRY, "country", "A country has two letters; write it as US."),
}
