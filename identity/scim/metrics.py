"""Numbers about directories for operators, by health system. Labels are slugs of the registry and closed lists of ours.

So many health systems have a label of their own, in each process, those that asked first; the others share one.
"""

from functools import cache

from prometheus_client import Counter, Histogram

MOST = 200
REQUESTS = Counter(
    "caretree_scim_requests_total",
    "Requests of directories by health system and outcome.",
    ("tenant", "outcome"),
)
SECONDS = Histogram(
    "caretree_scim_seconds",
    "Time from the first header of a directory's request to its answer.",
    ("kind",),
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)
_OUTCOMES = {401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT", 412: "CONFLICT"} | {
    413: "TOO_LARGE", 429: "RATE_LIMITED", 503: "UNAVAILABLE"
}  # fmt: skip
_KINDS = {"GET": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "write"}
_known: set[str] = set()
_counter = cache(REQUESTS.labels)
_timer = cache(SECONDS.labels)


def count(slug: str | None, method: str, status: int, seconds: float, *, held: bool) -> None:
    """Count an answer; `slug` is None for an address that is no health system's, `held` by the guard."""
    outcome = "OK" if status < 400 else "HELD" if held else _OUTCOMES.get(status, "REFUSED")
    if status >= 500 and status != 503:
        outcome = "INTERNAL"
    _counter(_label(slug), outcome).inc()
    _timer(_KINDS.get(method, "write")).observe(seconds)


def _label(slug: str | None) -> str:
    if slug is None:
        return "(none)"
    if slug not in _known and len(_known) >= MOST:
        return "(other)"
    _known.add(slug)
    return slug
