from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from fleet.errors import SettingsInvalid
from fleet.settings import FleetSettings, load_settings, variable_of

KEYS = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "a-livekit-secret"}
API_KEY = "an-api-key-of-some-length"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment with LiveKit's keys and no other setting."""
    for field in FleetSettings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
        monkeypatch.delenv(f"FLEET_{field.upper()}", raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problems_with(env: pytest.MonkeyPatch, **variables: str) -> dict[str, str]:
    for name, value in variables.items():
        env.setenv(name, value)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    return caught.value.problems


def test_usual_names_and_prefixed_names_are_read(env: pytest.MonkeyPatch) -> None:
    env.setenv("LIVEKIT_URL", "wss://livekit.example.org")
    env.setenv("REDIS_URL", "redis://cache.example.org/3")
    env.setenv("RAY_ADDRESS", "ray.example.org:6379")
    env.setenv("FLEET_WARM_ACTORS", "7")

    settings = load_settings()

    assert settings.livekit_url == "wss://livekit.example.org"
    assert settings.livekit_api_secret.get_secret_value() == "a-livekit-secret"
    assert settings.redis_url == "redis://cache.example.org/3"
    assert settings.ray_address == "ray.example.org:6379"
    assert settings.warm_actors == 7


def test_overrides_come_before_the_environment(env: pytest.MonkeyPatch) -> None:
    env.setenv("REDIS_URL", "redis://cache.example.org/3")

    assert load_settings(redis_url="unix:///run/redis.sock").redis_url == "unix:///run/redis.sock"


def test_missing_keys_are_all_named_at_once(env: pytest.MonkeyPatch) -> None:
    env.delenv("LIVEKIT_API_KEY")
    env.delenv("LIVEKIT_API_SECRET")

    assert set(problems_with(env)) == {"LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FLEET_API_PORT", "70000"),
        ("FLEET_WARM_ACTORS", "two"),
        ("FLEET_MAX_SESSIONS", "0"),
        ("FLEET_ACTOR_CPUS", "0"),
        ("FLEET_JOIN_TIMEOUT_S", "inf"),
        ("FLEET_STOP_GRACE_S", "-1"),
        ("FLEET_REAP_EVERY_S", "0"),
        ("FLEET_REAP_EVERY_S", "61"),
        ("FLEET_REAP_MISSING_ROOM_S", "1"),
        ("FLEET_FLEET_LIMIT_USD", "NaN"),
        ("FLEET_STUDY_LIMIT_USD", "0"),
        ("FLEET_STUDY_LIMITS_USD", '{"a": '),
        ("FLEET_MODEL_ALIASES", "old=new"),
        ("FLEET_REDIS_NAMESPACE", "a:b"),
        ("FLEET_RATES_PATH", "/no/such/file.toml"),
        ("FLEET_LOG_LEVEL", "LOUD"),
        ("LIVEKIT_URL", "livekit.example.org"),
        ("REDIS_URL", "http://cache.example.org"),
        ("FLEET_LIVEKIT_PUBLIC_URL", "https://livekit.example.org"),
    ],
)
def test_a_bad_value_is_named(env: pytest.MonkeyPatch, variable: str, value: str) -> None:
    assert set(problems_with(env, **{variable: value})) == {variable}


def test_a_bad_value_inside_a_map_is_named_with_its_key(env: pytest.MonkeyPatch) -> None:
    problems = problems_with(env, FLEET_STUDY_LIMITS_USD='{"pilot": "-3"}')

    assert set(problems) == {"FLEET_STUDY_LIMITS_USD.pilot"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "api.example.org"])
def test_a_key_is_required_beyond_loopback(env: pytest.MonkeyPatch, host: str) -> None:
    assert set(problems_with(env, FLEET_API_HOST=host)) == {"FLEET_API_KEY"}

    env.setenv("FLEET_API_KEY", API_KEY)
    assert not load_settings().loopback_only


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_no_key_is_required_on_loopback(env: pytest.MonkeyPatch, host: str) -> None:
    env.setenv("FLEET_API_HOST", host)

    settings = load_settings()

    assert settings.loopback_only
    assert settings.api_key is None


@pytest.mark.parametrize("key", ["short", f"{API_KEY},short", " , , , , , , , , , ", " " * 20])
def test_a_key_that_could_be_guessed_or_is_none_is_refused(
    env: pytest.MonkeyPatch, key: str
) -> None:
    assert set(problems_with(env, FLEET_API_KEY=key)) == {"FLEET_API_KEY"}


def test_keys_are_separated_by_commas(env: pytest.MonkeyPatch) -> None:
    assert load_settings().api_keys == ()
    assert load_settings(api_key=API_KEY).api_keys == (API_KEY,)
    both = load_settings(api_key=f"{API_KEY}, old-key-0123456789,")
    assert both.api_keys == (API_KEY, "old-key-0123456789")


def test_errors_do_not_show_what_was_given() -> None:
    """Whoever constructs the settings without ``load_settings`` logs pydantic's own words."""
    with pytest.raises(ValidationError) as raised:
        FleetSettings(
            livekit_api_key="local",
            livekit_api_secret="the-livekit-secret",
            redis_url="http://:redis-password@cache",
        )
    assert "the-livekit-secret" not in str(raised.value)
    assert "redis-password" not in str(raised.value)


def test_one_join_must_fit_into_the_dispatch(env: pytest.MonkeyPatch) -> None:
    problems = problems_with(env, FLEET_JOIN_TIMEOUT_S="30", FLEET_DISPATCH_DEADLINE_S="20")

    assert set(problems) == {"FLEET_JOIN_TIMEOUT_S"}


def test_limits_are_whole_micro_dollars_rounded_down(env: pytest.MonkeyPatch) -> None:
    env.setenv("FLEET_FLEET_LIMIT_USD", "1234.5678909")
    env.setenv("FLEET_STUDY_LIMIT_USD", "0.1")
    env.setenv("FLEET_STUDY_LIMITS_USD", '{"pilot": "2.5"}')

    settings = load_settings()

    assert settings.fleet_limit_micro_usd == 1_234_567_890
    assert settings.study_limit_micro_usd("pilot") == 2_500_000
    assert settings.study_limit_micro_usd("other") == 100_000


def test_no_limit_is_no_number(env: pytest.MonkeyPatch) -> None:
    settings = load_settings()

    assert settings.fleet_limit_micro_usd is None
    assert settings.study_limit_micro_usd("pilot") is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ws://http.example.org:7880", "ws://http.example.org:7880"),
        ("http://livekit.example.org", "ws://livekit.example.org"),
        ("https://livekit.example.org", "wss://livekit.example.org"),
    ],
)
def test_participants_are_told_a_websocket_address(
    env: pytest.MonkeyPatch, url: str, told: str
) -> None:
    assert load_settings(livekit_url=url).participant_livekit_url == told


def test_participants_are_told_the_public_address(env: pytest.MonkeyPatch) -> None:
    settings = load_settings(livekit_public_url="wss://media.example.org")

    assert settings.participant_livekit_url == "wss://media.example.org"


def test_settings_pickle_and_show_no_secret(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rates = tmp_path / "rates.toml"
    rates.touch()
    settings = load_settings(
        api_key=API_KEY, redis_url="redis://:redis-password@127.0.0.1", rates_path=rates
    )

    assert pickle.loads(pickle.dumps(settings)) == settings
    for secret in ("a-livekit-secret", API_KEY, "redis-password"):
        assert secret not in repr(settings)
        assert secret not in str(settings)


def test_control_actors_ask_for_their_nodes_where_those_are_named(env: pytest.MonkeyPatch) -> None:
    assert load_settings().control_resources == {}
    env.setenv("FLEET_CONTROL_RESOURCE", "fleet_control")
    assert load_settings().control_resources == {"fleet_control": 0.001}


def test_a_cluster_has_a_name(env: pytest.MonkeyPatch) -> None:
    assert load_settings().cluster == "main"
    env.setenv("FLEET_CLUSTER", "fleet-x7k2p")
    assert load_settings().cluster == "fleet-x7k2p"
    assert "FLEET_CLUSTER" in problems_with(env, FLEET_CLUSTER="not a name")
