"""A message to send, and certificates of this machine."""

import datetime as dt
import ssl
import uuid
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from domain.reminders import Message

ID = uuid.UUID("01900000-0000-7000-8000-000000000001")
PLANNED = dt.datetime(2026, 3, 2, 18, 0, tzinfo=dt.UTC)


def message(**values: Any) -> Message:
    """One reminder."""
    plain: dict[str, Any] = {
        "id": ID,
        "planned_at": PLANNED,
        "appointment_id": uuid.UUID(int=2),
        "patient_id": uuid.UUID(int=3),
        "starts_at": PLANNED + dt.timedelta(days=1),
        "zone": "America/Chicago",
        "language": "en",
        "subject": "Your appointment on Tuesday",
        "text": "Hello Zoë,\nuntil Tuesday.\n",
        "email": "zora@mail.example",
        "phone": "+13125550123",
    }
    return Message(**plain | values)


def certificate(folder: Path, name: str = "localhost") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server that is `name`, and of a client that trusts it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    both = folder / f"{name}.pem"
    both.write_bytes(pem + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    return server, ssl.create_default_context(cadata=pem.decode())
