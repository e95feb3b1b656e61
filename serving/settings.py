"""The settings of the service: every limit and switch, read from environment variables that begin with `ALEXNET_`.

In: the environment. Out: one frozen `Settings`. A wrong value is a `UserError` before anything is served.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from alexnet.errors import UserError
from alexnet.inference import MAX_PIXELS
from alexnet.paths import MODEL
from serving.logs import LogFormat

PREFIX: Final = "ALEXNET_"
_PILLOW_MAX_PIXELS: Final = 178_956_970  # Pillow opens nothing larger, whatever is set here
_ORIGIN: Final = re.compile(r"\*|https?://[^/\s]+")


class Settings(BaseModel):
    """Each field is the variable `ALEXNET_<FIELD>`; docs/guide/api.md shows this table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path = Field(MODEL, description="the ONNX file to serve")
    samples: DirectoryPath | None = Field(
        None,
        description="a folder with an image `CLASS.png` (or another format) for classes of the model, shown at `/ui`; "
        "without it only the shipped model has samples",
    )
    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="server processes; 0 takes one for every two usable CPUs, two on two CPUs, fewer where memory is "
        "short, and one with a GPU",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="most threads of ONNX Runtime in a worker; 0 takes all usable CPUs, and a share of them while "
        "other workers are busy",
    )
    gpu: Literal["never", "prefer", "require"] = Field(
        "never", description="`require` refuses to start without a usable GPU, `prefer` runs on the CPU and reports it"
    )
    max_body_bytes: int = Field(10_000_000, ge=1, description="largest request body")
    decode_memory_limit: int = Field(
        0,
        ge=0,
        description="bytes for request bodies and image decoding in a worker; an image that can never fit is refused "
        "with `too_many_pixels`, one that does not fit now waits; 0 derives it from the memory of the container or "
        "the machine, at most 512 MB",
    )
    max_held_bytes: int = Field(
        0,
        ge=0,
        description="the share of these bytes for request bodies; more get 503 `overloaded`, bodies over 64 kB first; "
        "0 takes a quarter",
    )
    max_images: int = Field(64, ge=1, description="most images in one request")
    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        le=_PILLOW_MAX_PIXELS,
        description="largest width times height that an image's header may state",
    )
    concurrency: int = Field(
        0,
        ge=0,
        le=1024,
        description="requests decoded, and model runs, at once in a worker; 0 takes the number of usable CPUs",
    )
    queue: int = Field(64, ge=0, description="requests that may wait in a worker; more get 503 `overloaded`")
    time_limit: float = Field(10.0, gt=0, le=3600, description="timeout of a request in seconds, queueing included")
    upload_time_limit: float = Field(
        30.0, gt=0, le=3600, description="timeout for receiving a request in seconds, for head and body each"
    )
    keep_alive: float = Field(
        75.0,
        gt=0,
        le=3600,
        description="seconds that an idle connection stays open; must exceed the idle timeout of the proxy in front",
    )
    client_concurrency: int = Field(
        0,
        ge=0,
        description="requests in flight from one client address in a worker; more get 429 `too_many_requests`; 0 means "
        "no limit",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="addresses or networks, separated by commas, whose `X-Forwarded-For` names the client; `*` for all",
    )
    root_path: str = Field("", description="path prefix at which a proxy serves this service, such as `/alex`")
    api_keys: tuple[SecretStr, ...] = Field(
        (), description="accepted API keys, separated by commas; without any, no key is needed"
    )
    public_metrics: bool = Field(True, description="whether `/metrics` needs no key")
    cors_origins: tuple[str, ...] = Field((), description="allowed CORS origins, separated by commas; `*` for all")
    log_format: LogFormat = Field("text", description="plain text or JSON lines")
    access_log: bool = Field(True, description="a log line for each request")

    @property
    def longest_seconds(self) -> float:
        """The longest that a request can take, and so the end of a worker after SIGTERM."""
        return self.upload_time_limit + self.time_limit + 10.0

    @field_validator("api_keys", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",")]
        if value.strip() and not all(parts):
            raise ValueError("an entry between the commas is empty")
        return tuple(part for part in parts if part)

    @field_validator("max_held_bytes")
    @classmethod
    def _check_room(cls, value: int, info: ValidationInfo) -> int:
        if 0 < value < info.data.get("max_body_bytes", 0):
            raise ValueError("less than ALEXNET_MAX_BODY_BYTES: no such body could be taken")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy != "*":
                ipaddress.ip_network(proxy)  # ValueError says what is wrong
        return proxies

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, path: str) -> str:
        if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
            raise ValueError("begins with / and does not end with it, such as /alex")
        return path

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(re.fullmatch("[!-~]+", key.get_secret_value()) for key in keys):
            raise ValueError("a key holds a space or a letter that is not ASCII; no header can carry it")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; write https://HOST, with no path, or *")
        return origins


def load() -> Settings:
    """Read the environment; an empty variable means the default.

    Raises `UserError` with one line that names each wrong variable.
    """
    _refuse_mistyped(name for name in os.environ if name.startswith(PREFIX))
    given = {field: value for field in Settings.model_fields if (value := os.environ.get(PREFIX + field.upper()))}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        # Without the value: it may be a key.
        wrong = [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
        raise UserError("; ".join(wrong)) from error


def _refuse_mistyped(names: Iterable[str]) -> None:
    """`ALEXNET_API_KEY` for `ALEXNET_API_KEYS` would leave the service open, and nobody would see it.

    Names that are like none of ours pass: Kubernetes sets `ALEXNET_PORT` and others for a service called alexnet.
    """
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in names:
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if name not in known and meant:
            raise UserError(f"{name}: there is no such setting; {meant[0]} is probably meant")
