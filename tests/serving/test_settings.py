"""The settings: their defaults, how they are read, and that a wrong one is refused in one line that names it."""

import pytest

from alexnet.errors import UserError
from serving import settings
from serving.settings import Settings

WRONG = {
    "samples": ("/nothing/there", "README.md"),
    "workers": ("-1", "two", "1.5", "100000"),
    "threads": ("-1", "many"),
    "gpu": ("yes", "REQUIRE"),
    "max_body_bytes": ("0", "10MB", "-5"),
    "decode_memory_limit": ("-1", "512Mi"),
    "max_held_bytes": ("-1", "x", "9999999"),
    "max_images": ("0", "x"),
    "max_pixels": ("0", "1e9", "999999999999"),
    "concurrency": ("-1", "x"),
    "queue": ("-1", "x"),
    "time_limit": ("0", "-1", "soon", "nan", "inf", "1e300"),
    "upload_time_limit": ("0", "nan", "inf", "-inf"),
    "keep_alive": ("0", "-1", "never", "inf"),
    "client_concurrency": ("-1", "few"),
    "trusted_proxies": ("10.0.0.0/99", "ingress", "10.0.0.1,,"),
    "root_path": ("alex", "/alex/", "/", "/a b", "https://a.example/alex"),
    "api_keys": ("a,,b", ",", "a, ,b"),
    "public_metrics": ("perhaps",),
    "cors_origins": ("https://a.example,,", "a.example", "https://a.example/path"),
    "log_format": ("xml", "JSON"),
    "access_log": ("maybe",),
}


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(settings.PREFIX + name.upper(), raising=False)


def test_the_defaults_need_no_environment() -> None:
    found = settings.load()
    assert found.model == settings.MODEL
    assert found.max_body_bytes == 10_000_000
    assert found.max_pixels == 64_000_000
    assert found.api_keys == ()
    assert found.cors_origins == ()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_one_line_that_names_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.PREFIX + name.upper(), value)
    with pytest.raises(UserError) as caught:
        settings.load()
    line = str(caught.value)
    assert f"{settings.PREFIX}{name.upper()}: " in line
    assert "\n" not in line


def test_every_setting_but_the_path_has_wrong_values_that_are_tried() -> None:
    assert set(WRONG) == set(Settings.model_fields) - {"model"}


def test_a_body_that_could_never_be_held_is_refused_as_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_MAX_BODY_BYTES", "600000000")
    monkeypatch.setenv("ALEXNET_MAX_HELD_BYTES", "500000000")
    with pytest.raises(UserError, match="ALEXNET_MAX_HELD_BYTES: "):
        settings.load()
    monkeypatch.setenv("ALEXNET_MAX_HELD_BYTES", "600000000")
    settings.load()


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_WORKERS", "-1")
    monkeypatch.setenv("ALEXNET_QUEUE", "x")
    with pytest.raises(UserError, match=r"ALEXNET_WORKERS: .*; ALEXNET_QUEUE: "):
        settings.load()


def test_a_mistyped_name_is_refused_with_the_name_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_API_KEY", "secret")
    with pytest.raises(UserError, match=r"ALEXNET_API_KEY: .*ALEXNET_API_KEYS") as caught:
        settings.load()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["SERVICE_HOST", "PORT", "PORT_3000_TCP_ADDR", "SERVICE_PORT_HTTP", "DATA", "AUDIT"])
def test_names_that_others_set_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.PREFIX + name, "tcp://10.0.0.1:3000")
    settings.load()


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_API_KEYS", " old , new ")
    monkeypatch.setenv("ALEXNET_CORS_ORIGINS", "https://a.example,http://localhost:8080")
    found = settings.load()
    assert [key.get_secret_value() for key in found.api_keys] == ["old", "new"]
    assert found.cors_origins == ("https://a.example", "http://localhost:8080")


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(settings.PREFIX + name.upper(), "")
    assert settings.load() == Settings.model_construct()


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_API_KEYS", "s3cret,,x")
    with pytest.raises(UserError) as caught:
        settings.load()
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("ALEXNET_API_KEYS", "s3cret")
    assert "s3cret" not in repr(settings.load())


@pytest.mark.parametrize("key", ["with space", "ünicode", "tab\tinside"])
def test_a_key_that_no_header_can_carry_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_API_KEYS", key)
    with pytest.raises(UserError, match="ALEXNET_API_KEYS"):
        settings.load()


def test_nothing_changes_the_settings_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.load().queue = 5  # type: ignore[misc]
