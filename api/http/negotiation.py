"""Which media type answers (GraphQL over HTTP, "Media Types"; RFC 9110, section 12.5.1): JSON, or a stream of it."""

from functools import lru_cache

RESPONSE = b"application/graphql-response+json"
JSON = b"application/json"
EVENTS = b"text/event-stream"
_RANGES = {
    RESPONSE: (RESPONSE, b"application/*", b"*/*"),
    JSON: (JSON, b"application/*", b"*/*"),
    EVENTS: (EVENTS, b"text/*"),
}


@lru_cache(maxsize=256)
def media_type(accept: bytes) -> bytes | None:
    """The media type that the client prefers of ours; without a wish application/json. None: neither is wanted."""
    if not accept.strip():
        return JSON
    weights = _weights(accept)
    best, weight = None, 0.0
    for ours, ranges in _RANGES.items():
        found = next((weights[r] for r in ranges if r in weights), 0.0)
        # A client that merely takes anything gets what every client understands.
        if found > weight or (found == weight and ours is JSON and RESPONSE not in weights):
            best, weight = ours, found
    return best if weight else None


def _weights(accept: bytes) -> dict[bytes, float]:
    weights: dict[bytes, float] = {}
    for part in accept.lower().split(b","):
        media, *parameters = (piece.strip() for piece in part.split(b";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition(b"=")
            if name == b"charset" and value.strip(b'"') not in (b"utf-8", b"utf8"):
                weight = 0.0
            elif name == b"q":
                weight = _number(value)
        weights[media] = max(weight, weights.get(media, 0.0))
    return weights


def _number(text: bytes) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
