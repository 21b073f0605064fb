"""Settings of every process, from the environment: `CARETREE_<NAME>`.

Secrets have no default. An unknown variable with our prefix is an error: a misspelt security setting would otherwise
be silently off. No message repeats a value.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.plain_text import EMAIL

PREFIX = "CARETREE_"
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


class SettingsError(Exception):
    """The environment does not say what the process needs; the message is one sentence for its operator."""


class Settings(BaseSettings):
    """All settings. A process that needs one without default asks by `required`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: Literal["production", "development"] = "production"

    database_url: SecretStr | None = Field(default=None, description="The cell, as caretree_app.")
    owner_database_url: SecretStr | None = Field(
        default=None, description="The cell, as caretree_owner: migrations and provisioning only."
    )
    listen_database_url: SecretStr | None = Field(
        default=None,
        description="The cell, as caretree_app, by no pooler of transactions; by default database_url.",
    )
    worker_database_url: SecretStr | None = Field(
        default=None, description="Jobs, as caretree_worker."
    )
    platform_database_url: SecretStr | None = Field(
        default=None, description="The cell, as caretree_platform: `caretree tenant` only."
    )
    second_operator: bool = Field(
        default=False,
        description="Whether every order of an operator takes another one's approval.",
    )
    erase_wait_hours: int = Field(
        default=168,
        ge=0,
        description="Between the approval of erasing a health system and its beginning.",
    )
    export_folder: Path | None = Field(
        default=None, description="Where exports that operators order are written."
    )
    audit_database_url: SecretStr | None = Field(default=None, description="As caretree_audit.")
    control_database_url: SecretStr | None = Field(
        default=None, description="The control plane; by default the cell's own server."
    )
    control_owner_database_url: SecretStr | None = Field(
        default=None, description="The control plane, as its owner; by default the cell's owner."
    )
    redis_url: SecretStr | None = None

    keycloak_url: str | None = None
    keycloak_admin_client_id: str | None = None
    keycloak_admin_client_secret: SecretStr | None = None

    key_file: Path | None = Field(
        default=None, description="Where the file key provider keeps its keys."
    )

    smtp_host: str | None = Field(default=None, description="Takes e-mail reminders.")
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    mail_from: str | None = Field(default=None, description="Whose address mail comes from.")
    mail_from_name: str | None = None

    public_url: str = "http://localhost:8000"
    portal_url: str | None = None
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    metrics_token: SecretStr | None = None

    connections: int = Field(
        default=2, ge=1, le=64, description="Pipelined, of each kind and process."
    )
    compile_seconds: float = Field(
        default=5,
        gt=0,
        le=60,
        description="A minute, of the processor, for one person's new documents.",
    )
    refusals: int = Field(
        default=60, ge=1, description="A minute, of one person's commands, before they wait."
    )
    streams: int = Field(
        default=2000, ge=0, description="Connections that stay open, in each process."
    )
    operation_seconds: float = Field(default=10, gt=0, le=120)
    statement_seconds: float = Field(default=5, gt=0, le=60)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        origins = value.split(",") if isinstance(value, str) else value
        origins = tuple(origin.strip() for origin in origins if origin.strip())
        if any(not _ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("origins are scheme://host[:port], separated by commas")
        return origins

    @field_validator("mail_from")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not (EMAIL.fullmatch(value) and value.isascii()):
            raise ValueError("an e-mail address, in ASCII")
        return value

    @property
    def is_development(self) -> bool:
        return self.environment == "development"

    def required(self, name: str) -> str:
        """The value of a setting that this process cannot do without. Raises SettingsError."""
        value = getattr(self, name)
        if value is None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is not set: docs/operating.md says to what; in a checkout,"
                " `make up` sets everything."
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    def control_url(self, name: str = "database_url") -> str:
        """The control plane's URL; where none is set, the one that `name` has for the cell."""
        return self.required("control_database_url" if self.control_database_url else name)


def load() -> Settings:
    """Read the environment. Raises SettingsError, which names the variables and no value."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    given = {name for name in os.environ if name.upper().startswith(PREFIX)}
    unknown = sorted(name for name in given if name.upper() not in known)
    if unknown:
        raise SettingsError(f"Unknown settings in the environment: {', '.join(unknown)}.")
    try:
        return Settings()
    except ValidationError as error:
        wrong = sorted({f"{PREFIX}{'.'.join(map(str, e['loc']))}".upper() for e in error.errors()})
        raise SettingsError(f"Settings that cannot be taken: {', '.join(wrong)}.") from None
