"""Reminders to a system of the health system's own: signed as https://www.standardwebhooks.com has it.

The address comes from outside, so it may point anywhere. It is looked up once, none of what it means may be an address
of a private network, and the connection goes to the address that was looked at. Redirects are not followed, answers
not read. A repeat has the same `webhook-id` and the same body: the receiver drops it by that.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

import httpx
import orjson

from domain.reminders import Endpoint, Message, NotTaken, Refused

SECONDS = 15.0
REST = 30.0
"""Seconds for which an address that did not answer in time is left alone, then tried by one message: else one health
system's receiver that hangs would keep every worker, and everybody's reminders, waiting."""
KIND = "appointment.reminder"
UNICAST = ipaddress.ip_network("2000::/3")
"""All that IANA has given out of IPv6 (RFC 4291 section 2.4): elsewhere are NAT64, site-local addresses, IPv4 in IPv6."""
SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
"""IPv6 addresses that mean an IPv4 address (RFC 3056): nobody sees which by the flags."""
GONE = 410


class Webhooks:
    """Posts messages. `plain`: http and any address will do (development)."""

    def __init__(
        self,
        *,
        plain: bool = False,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plain = plain
        self._tls = tls or ssl.create_default_context()
        self._clock = clock
        self._resting: dict[str, float] = {}

    async def send(self, message: Message) -> None:
        """Hand a message over. Raises NotTaken; Refused for an address that is not written to, and 410 (Gone)."""
        endpoint = message.endpoint
        if endpoint is None:
            raise Refused
        body = told(message)
        self._may_be_asked(endpoint.url)
        try:
            async with asyncio.timeout(SECONDS):
                status = await self._posted(endpoint, message, body)
        except (httpx.TimeoutException, TimeoutError):
            self._resting[endpoint.url] = time.monotonic() + REST
            raise NotTaken from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise NotTaken from None
        self._resting.pop(endpoint.url, None)
        if status == GONE:
            raise Refused
        if not 200 <= status < 300:
            raise NotTaken

    def _may_be_asked(self, url: str) -> None:
        """Raises NotTaken for an address that rests; of one that has rested this message is the only one to try."""
        now = time.monotonic()
        if self._resting.get(url, 0.0) > now:
            raise NotTaken
        if url in self._resting:
            self._resting[url] = now + REST

    async def _posted(self, endpoint: Endpoint, message: Message, body: bytes) -> int:
        url = urlsplit(endpoint.url)
        if url.hostname is None or (url.scheme != "https" and not self._plain):
            raise Refused
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await self.address(url.hostname, port)
        seconds = int(self._clock())
        headers = {
            "host": _authority(url),
            "content-type": "application/json",
            "user-agent": "caretree",
            "webhook-id": identity(message),
            "webhook-timestamp": str(seconds),
            "webhook-signature": signature(endpoint.secret, identity(message), seconds, body),
        }
        literal = f"[{address}]" if ":" in address else address
        target = url._replace(netloc=f"{literal}:{port}").geturl()
        # A client of its own: a connection that was opened under one name must not serve another.
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "POST",
                target,
                content=body,
                headers=headers,
                timeout=SECONDS,
                extensions={"sni_hostname": url.hostname},
            ) as answer,
        ):
            return answer.status_code

    async def address(self, host: str, port: int) -> str:
        """The address to connect to. Raises Refused where any that the name means is not public, OSError for none."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        if not self._plain and not all(map(is_public, addresses)):
            raise Refused
        return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is of the internet at large, and means no other one."""
    try:
        number = ipaddress.ip_address(address)
    except ValueError:  # with a zone (fe80::1%eth0)
        return False
    if isinstance(number, ipaddress.IPv6Address):
        if number.ipv4_mapped is not None:
            return is_public(str(number.ipv4_mapped))
        if number not in UNICAST or number in SIX_TO_FOUR:
            return False
    return number.is_global and not number.is_multicast


def identity(message: Message) -> str:
    """The message's id for its receiver: the same at each attempt."""
    return f"msg_{message.id.hex}"


def told(message: Message) -> bytes:
    """The body: ids, time and text, and the telephone number to which a text message would go."""
    return orjson.dumps(
        {
            "type": KIND,
            "timestamp": message.planned_at,
            "data": {
                "reminder": f"Reminder:{message.id}",
                "appointment": f"Appointment:{message.appointment_id}",
                "patient": f"Patient:{message.patient_id}",
                "startsAt": message.starts_at,
                "zone": message.zone,
                "language": message.language,
                "subject": message.subject,
                "text": message.text,
                "phone": message.phone,
            },
        }
    )


def signature(secret: bytes, id_: str, seconds: int, body: bytes) -> str:
    """HMAC-SHA256 over id, time and body (Standard Webhooks, Signature scheme)."""
    signed = f"{id_}.{seconds}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"


def _authority(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[2]
