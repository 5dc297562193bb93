"""Environment variables: what is allowed, and what is said about the rest."""

from __future__ import annotations

import pytest

from cpugpu import CpuGpuEvent, settings
from cpugpu.device import resolve


@pytest.mark.parametrize(
    ("text", "mode"),
    [("", "off"), ("0", "off"), ("off", "off"), ("1", "check"), ("check", "check"), ("log", "log"), ("raise", "raise")],
)
def test_debug_modes(monkeypatch: pytest.MonkeyPatch, text: str, mode: str) -> None:
    monkeypatch.setenv("CPUGPU_DEBUG", text)
    assert settings.debug_mode() == mode


def test_debug_is_off_by_default() -> None:
    assert settings.debug_mode() == "off"


def test_a_wrong_debug_mode_is_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_DEBUG", "nonsense")
    with pytest.raises(ValueError, match=r"CPUGPU_DEBUG='nonsense' is not one of off .*log, check .*raise"):
        CpuGpuEvent("host")


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "¹"])
def test_a_wrong_seed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CPUGPU_SEED", text)
    with pytest.raises(ValueError, match="is not an integer from 0"):
        settings.seed()


def test_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.seed() is None
    monkeypatch.setenv("CPUGPU_SEED", "17")
    assert settings.seed() == 17


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "soon"])
def test_a_wrong_stall_time_is_one_line_and_the_default(
    monkeypatch: pytest.MonkeyPatch, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", text)
    with pytest.raises(ValueError, match="neither a number of seconds above 0 nor 'off'"):
        settings.stall_seconds()
    settings._log_once.cache_clear()
    for _ in range(2):
        assert CpuGpuEvent("host")._stall_seconds == 60
    assert len(caplog.messages) == 1
    assert f"CPUGPU_STALL_SECONDS={text!r}" in caplog.text


def test_stall_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.stall_seconds() == 60
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "2.5")
    assert settings.stall_seconds() == 2.5
    monkeypatch.setenv("CPUGPU_STALL_SECONDS", "off")
    assert settings.stall_seconds() is None


@pytest.mark.parametrize(("text", "name"), [("host", "host"), ("sim", "sim")])
def test_the_device_setting(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setenv("CPUGPU_DEVICE", text)
    assert resolve().name == name


def test_a_wrong_device_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_DEVICE", "gpu")
    with pytest.raises(ValueError, match="CPUGPU_DEVICE='gpu' is not one of auto, accelerator, host, sim"):
        CpuGpuEvent()


@pytest.mark.parametrize(
    ("text", "mode"),
    [("", "off"), ("0", "off"), ("off", "off"), ("1", "check"), ("check", "check"), ("raise", "raise")],
)
def test_sanitizing(monkeypatch: pytest.MonkeyPatch, text: str, mode: str) -> None:
    monkeypatch.setenv("CPUGPU_SANITIZE", text)
    assert settings.sanitize_mode() == mode


def test_a_wrong_way_to_sanitize(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_SANITIZE", "yes")
    with pytest.raises(ValueError, match=r"CPUGPU_SANITIZE='yes' is not one of off .*check .*raise"):
        settings.sanitize_mode()
