"""The hub's settings: `hub.toml` in its home folder, then environment variables `MILLWRIGHT_*`, which win.

The home folder holds everything that the hub keeps:

    hub.toml          settings
    hub.sqlite3       the database, unless `database_url` names another
    identity/         certificate authorities and the hub's own certificate (`cloud-hub identity init`)
    keys/             online signing keys (the root key is elsewhere: `cloud-hub keys init --root-dir`)
    repository/       TUF metadata, as signed
    bundles/          <sha256>.mwb
    captures/         <capture id>.npz
    reports/          <bundle digest>.html, of trainings that the hub ran
    candidates/       <sha256>.mwb, trained here and not published
    uploads/          <sha256>.<kind>, files that people brought
    jobs/             <job id>/: log and progress of each training
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from cloud_hub.accounts.permissions import Role
from cloud_hub.accounts.records import Limits, ProviderSettings
from cloud_hub.errors import SettingsError
from models.contract.ids import ID_PATTERN


class Settings(BaseSettings):
    """Everything that can be set. Paths inside the home folder are properties, not settings."""

    model_config = SettingsConfigDict(env_prefix="MILLWRIGHT_", extra="forbid", frozen=True)
    _toml: ClassVar[Path | None] = None

    home: Path
    fleet: str = Field("plant", pattern=rf"^{ID_PATTERN}\z")
    database_url: str = ""
    broker_host: str = "127.0.0.1"
    broker_port: int = Field(1883, ge=1, le=65535)
    broker_username: str | None = None
    broker_password_file: Path | None = None
    broker_ca_file: Path | None = None
    broker_cert_file: Path | None = None
    broker_key_file: Path | None = None
    broker_identity: bool = False  # TLS with identity/hub.pem, in place of the three files above
    broker_crl_file: Path | None = None  # where the broker reads its revocation list
    broker_pid_file: Path | None = None  # of the broker on this machine, which is told to read it again
    certificate_days: float = Field(365, gt=0, le=3650)
    crl_days: float = Field(30, gt=0, le=365)
    keys_passphrase_file: Path | None = None
    timestamp_days: float = Field(7, gt=0, le=365)
    snapshot_days: float = Field(30, gt=0, le=3650)
    targets_days: float = Field(365, gt=0, le=3650)
    ingest_workers: int = Field(1, ge=1, le=16)  # threads with a broker session each, which share the shards
    # How many days what gateways sent is kept: trends as they came, in buckets of 5 minutes and of an hour, ...
    keep_trends_days: float = Field(14, ge=1)
    keep_trends_5min_days: float = Field(90, ge=1)
    keep_trends_hour_days: float = Field(1825, ge=1)
    keep_health_days: float = Field(30, ge=1)
    keep_acks_days: float = Field(365, ge=7)
    keep_evidence_days: float = Field(365, ge=1)  # raw windows; the alarms and their numbers stay
    keep_events_days: float = Field(1825, ge=7)  # the alarms that they made stay
    keep_captures_days: float = Field(0, ge=0)  # 0: for ever
    # By which a trend batch that comes again is known. A gateway that sends one again after more days than this would
    # have it stored twice.
    keep_seen_days: float = Field(180, ge=30)
    training_jobs: int = Field(1, ge=0, le=64)  # at the same time; 0: this hub trains nothing
    training_nice: int = Field(10, ge=0, le=19)
    training_hours: float = Field(12, gt=0, le=720)  # a job that takes longer has failed
    upload_max_mb: float = Field(256, gt=0, le=65_536)  # of one file
    uploads_max_gb: float = Field(20, gt=0, le=1_000_000)  # of all of them
    api_host: str = "127.0.0.1"
    api_port: int = Field(8080, ge=0, le=65535)
    public_url: str = Field("", pattern=r"^(https?://[^/?#\s]+)?\z")  # where people find the hub: of a TLS proxy
    trusted_proxies: list[str] = []  # their addresses: what they say of the caller's address and of TLS is believed
    oidc_issuer: str = Field(
        "", pattern=r"^(https://\S+|http://(127\.0\.0\.1|localhost)(:\d+)?\S*)?\z"
    )  # single sign-on
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    oidc_role_claim: str = "groups"
    oidc_roles: dict[str, Role] = {}  # value of that claim -> role
    oidc_default_role: Role | None = None  # for whom none fits; None: not let in
    session_idle_hours: float = Field(12, gt=0, le=24 * 30)
    session_hours: float = Field(24 * 7, gt=0, le=24 * 90)
    hooks_allow: list[str] = Field(default_factory=list, max_length=64)  # private networks that webhooks may go to
    hooks_ca_file: Path | None = None  # the authority of receivers inside the plant
    smtp_host: str | None = None
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["none", "starttls", "tls"] = "starttls"
    smtp_sender: str = "millwright@localhost"
    smtp_username: str | None = None
    smtp_password_file: Path | None = None
    smtp_ca_file: Path | None = None
    api_cert_file: Path | None = None  # HTTPS with a certificate (and its chain) of your own; the key may be in it
    api_key_file: Path | None = None
    api_names: tuple[str, ...] = ()  # HTTPS with identity/api.pem, which the hub's authority issues for these names
    chunk_grace_days: float = Field(14, gt=0, le=3650)  # unused for so long, a bundle's chunks leave the broker
    want_renewal: bool = True  # wants that were made for a week or more are issued anew at half of their life

    @property
    def sqlalchemy_url(self) -> str:
        """The database: the one named, else SQLite in the home folder."""
        return self.database_url or f"sqlite:///{self.home / 'hub.sqlite3'}"

    @property
    def url(self) -> str:
        """Where people find the hub."""
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        return self.public_url or f"{'http' if self.api_tls is None else 'https'}://{host}:{self.api_port}"

    @property
    def provider(self) -> ProviderSettings | None:
        """Single sign-on, when it is set up. Raises: SettingsError."""
        if not self.oidc_issuer:
            return None
        if not self.oidc_client_id or self.oidc_client_secret_file is None or not self.public_url:
            raise SettingsError("oidc_issuer: needs oidc_client_id, oidc_client_secret_file and public_url, too")
        try:
            secret = self.oidc_client_secret_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"oidc_client_secret_file: {self.oidc_client_secret_file}: {error}") from error
        return ProviderSettings(
            self.oidc_issuer, self.oidc_client_id, secret, f"{self.public_url}/login/single-sign-on/back",
            self.oidc_role_claim, self.oidc_roles, self.oidc_default_role,
        )  # fmt: skip

    @property
    def account_limits(self) -> Limits:
        """How long sessions last."""
        return Limits(idle_s=self.session_idle_hours * 3600, session_s=self.session_hours * 3600)

    @property
    def keys_dir(self) -> Path:
        """Online signing keys."""
        return self.home / "keys"

    @property
    def identity_dir(self) -> Path:
        """Certificate authorities."""
        return self.home / "identity"

    @property
    def broker_tls(self) -> tuple[Path, Path | None, Path | None] | None:
        """(authority, certificate, key) for the link to the broker, None for a link without TLS."""
        if self.broker_identity:
            return self.identity_dir / "root.crt", self.identity_dir / "hub.pem", self.identity_dir / "hub.pem"
        if self.broker_ca_file is None:
            return None
        return self.broker_ca_file, self.broker_cert_file, self.broker_key_file

    @property
    def api_tls(self) -> tuple[Path, Path | None] | None:
        """(certificate with its chain, key or None when it is in the same file) of the API, None for plain HTTP.

        Raises: SettingsError: the settings contradict each other.
        """
        if self.api_names and self.api_cert_file is not None:
            raise SettingsError("api_names and api_cert_file: expected one of them, got both")
        if self.api_key_file is not None and self.api_cert_file is None:
            raise SettingsError("api_key_file: expected api_cert_file beside it")
        if self.api_names:
            return self.identity_dir / "api.pem", None
        return (self.api_cert_file, self.api_key_file) if self.api_cert_file is not None else None

    @property
    def repository_dir(self) -> Path:
        """TUF metadata."""
        return self.home / "repository"

    @property
    def bundles_dir(self) -> Path:
        """Published bundles, by digest."""
        return self.home / "bundles"

    @property
    def captures_dir(self) -> Path:
        """Captured samples."""
        return self.home / "captures"

    @property
    def reports_dir(self) -> Path:
        """Training reports."""
        return self.home / "reports"

    @property
    def candidates_dir(self) -> Path:
        """Bundles that were trained here and are not published."""
        return self.home / "candidates"

    @property
    def uploads_dir(self) -> Path:
        """Files that people brought, by digest."""
        return self.home / "uploads"

    @property
    def jobs_dir(self) -> Path:
        """A folder for each training job."""
        return self.home / "jobs"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over `hub.toml`; no `.env` file, no secrets folder."""
        toml = TomlConfigSettingsSource(settings_cls, cls._toml) if cls._toml is not None else None
        return tuple(source for source in (init_settings, env_settings, toml) if source is not None)


def load_settings(home: Path, toml: Path | None = None) -> Settings:
    """The settings of the hub that lives in `home` (which need not exist yet). `toml`: in place of its `hub.toml`.

    Raises: SettingsError: every problem at once, each with file and key.
    """
    home = home.resolve()
    if toml is not None and not toml.exists():
        raise SettingsError(f"{toml}: no such file")
    file = toml or home / "hub.toml"

    class Located(Settings):
        _toml: ClassVar[Path | None] = file if file.exists() else None

    try:
        return Located(home=home)  # type: ignore[call-arg]  # the other fields come from the sources
    except ValidationError as error:
        problems = [f"{file}, {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(problems)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
