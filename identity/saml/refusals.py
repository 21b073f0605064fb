"""Why a message of a provider is not believed: one word for the code, one sentence for whoever connects it."""

from enum import StrEnum


class Flaw(StrEnum):
    """Which check a message failed."""

    MALFORMED = "malformed"
    STATUS = "status"
    STRUCTURE = "structure"
    ENCRYPTED = "encrypted"
    SIGNATURE = "signature"
    CERTIFICATE = "certificate"
    ISSUER = "issuer"
    REQUEST = "request"
    AUDIENCE = "audience"
    DESTINATION = "destination"
    RECIPIENT = "recipient"
    TIMES = "times"
    SUBJECT = "subject"
    REPLAYED = "replayed"


SAID = {
    Flaw.MALFORMED: "It is no message of SAML 2.0 that could be read.",
    Flaw.STATUS: "The provider answered with an error: its own log says which.",
    Flaw.STRUCTURE: "It holds something beside the one assertion that is signed as a whole.",
    Flaw.ENCRYPTED: "The assertion is not encrypted as it may be: for our certificate, by RSA-OAEP and AES-GCM;"
    " by AES-CBC only where the response is signed as well.",
    Flaw.SIGNATURE: "It is not signed with SHA-256 or better by a certificate on file.",
    Flaw.CERTIFICATE: "Every certificate on file has ended: give its newer metadata.",
    Flaw.ISSUER: "It comes from another provider.",
    Flaw.REQUEST: "It answers no request of ours that still waits.",
    Flaw.AUDIENCE: "It is not meant for this health system: compare the entity id.",
    Flaw.DESTINATION: "It was not sent to this address: compare the ACS URL.",
    Flaw.RECIPIENT: "Its bearer was to bring it elsewhere: compare the ACS URL.",
    Flaw.TIMES: "It is over, not yet valid, or valid for too long: compare the clocks.",
    Flaw.SUBJECT: "It names the person by nothing that stays the same: send a persistent NameID.",
    Flaw.REPLAYED: "It was brought before.",
}


class SamlRefused(Exception):
    """The message proves nothing. `flaw` is for verdicts, logs and metrics; nothing of the message is repeated."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(SAID[flaw])
        self.flaw = flaw
