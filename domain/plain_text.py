"""What a line or a passage of text from outside must be before it is stored."""

import re
import unicodedata

from domain.errors import Invalid

LINE = 200
PASSAGE = 100_000
ALLOWED_CONTROLS = "\n\t"
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates of Unicode's UAX 9: they make a reader see another order than is stored."""
# Joiners (U+200C, U+200D) belong to Persian and Indic words, marks (U+200E, U+200F, U+061C) to mixed lines: taken.
UNSTORABLE = "This has characters that cannot be stored."
# What mail servers take (RFC 5321 section 4.5.3.1): 64 + @ + 255 octets; quoted local parts are refused.
EMAIL = re.compile(r"[^\s@\"<>(),:;\\\[\]]{1,64}@(?=.{1,255}$)([\w-]{1,63}\.)+[\w-]{2,63}")


def line(value: str, *path: str, maximum: int = LINE) -> str:
    """One line in normal form C without white space around it, 1 to `maximum` characters. Raises Invalid."""
    plain = unicodedata.normalize("NFC", value).strip()
    if not plain:
        raise Invalid("This must not be empty.", path=path)
    return _checked(plain, path, maximum, "")


def name(value: str, *path: str) -> str:
    """A name: a line with at least one letter, of any script. Raises Invalid."""
    plain = line(value, *path)
    if not any(c.isalpha() for c in plain):
        raise Invalid("A name has at least one letter.", path=path)
    return plain


def identifier(value: str, *path: str, maximum: int = LINE) -> str:
    """A number or key of something: a line without characters that nobody sees (Unicode's Cf). Raises Invalid.

    Else two that look the same would be two, and one that was copied from a screen would find nothing.
    """
    plain = line(value, *path, maximum=maximum)
    if has_unseen(plain):
        raise Invalid(UNSTORABLE, path=path)
    return plain


def has_unseen(value: str) -> bool:
    """Whether there is a character of Unicode's category Cf, which shows nothing by itself."""
    return any(unicodedata.category(c) == "Cf" for c in value)


def passage(value: str, *path: str, maximum: int = PASSAGE) -> str:
    """A text of several lines, line ends as \\n, 1 to `maximum` characters. Raises Invalid."""
    plain = unicodedata.normalize("NFC", value.replace("\r\n", "\n")).strip()
    if not plain:
        raise Invalid("This must not be empty.", path=path)
    return _checked(plain, path, maximum, ALLOWED_CONTROLS)


def optional_line(value: str | None, *path: str, maximum: int = LINE) -> str | None:
    """As `line`; nothing and blank text are nothing."""
    return line(value, *path, maximum=maximum) if value and value.strip() else None


def optional_identifier(value: str | None, *path: str, maximum: int = LINE) -> str | None:
    """As `identifier`; nothing and blank text are nothing."""
    return identifier(value, *path, maximum=maximum) if value and value.strip() else None


def optional_email(value: str | None, *path: str) -> str | None:
    """An e-mail address, or nothing. Raises Invalid."""
    plain = optional_identifier(value, *path, maximum=320)
    if plain is not None and not EMAIL.fullmatch(plain):
        raise Invalid("This is no e-mail address.", path=path)
    return plain


def optional_passage(value: str | None, *path: str, maximum: int = 2_000) -> str | None:
    """As `passage`; nothing and blank text are nothing."""
    return passage(value, *path, maximum=maximum) if value and value.strip() else None


def _checked(value: str, path: tuple[str, ...], maximum: int, allowed: str) -> str:
    if len(value) > maximum:
        raise Invalid(f"At most {maximum} characters.", path=path)
    # Cc: control characters; Cs: lone surrogates, which no UTF-8 can carry; Zl, Zp: line ends in disguise.
    refused = ("Cc", "Cs", "Zl", "Zp")
    if any(unicodedata.category(c) in refused and c not in allowed for c in value):
        raise Invalid(UNSTORABLE, path=path)
    if not REORDERING.isdisjoint(value):
        raise Invalid(UNSTORABLE, path=path)
    return value
