"""The two files behind a webhook."""

from pathlib import Path

import pytest

from merchant_adapter import FileRefused, Unreadable
from merchant_adapter.webhooks import OrderPolicy, OrderState, WebhookSettings

OLD, NEW = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
LEAST = 'currency = "CNY"\nstore_id = "web"\nterminal_id = "shop"\nsecrets_file = "secrets"\n'


def load(folder: Path, policy: str = LEAST, secrets: str = OLD, mode: int = 0o600) -> WebhookSettings:
    (folder / "webhooks.toml").write_text(policy)
    (folder / "secrets").write_text(secrets)
    (folder / "secrets").chmod(mode)
    return WebhookSettings.load(folder / "webhooks.toml")


def test_what_is_not_said_is_as_the_reference_says(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert settings.policy == OrderPolicy(currency="CNY", store_id="web", terminal_id="shop")
    assert settings.secrets == (OLD.encode(),)


def test_every_setting_and_a_second_secret_are_taken(tmp_path: Path) -> None:
    said = 'confirm_on = "paid"\ncapture_on = "paid"\nexclude_tax = true\nexclude_shipping = true\n'

    settings = load(tmp_path, LEAST + said, f"{OLD}\n{NEW}\n")

    assert settings.policy.confirm_on is settings.policy.capture_on is OrderState.PAID
    assert settings.policy.exclude_tax
    assert settings.policy.exclude_shipping
    assert settings.secrets == (OLD.encode(), NEW.encode())


def test_the_secrets_are_not_shown_with_the_settings(tmp_path: Path) -> None:
    assert OLD not in repr(load(tmp_path))


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("currency = ", "not TOML"),
        ("a = " + "[" * 5_000, "not TOML"),
        (LEAST.replace("secrets_file", "secret_file"), "secrets_file"),
        ('secrets_file = "no\\u0000file"', "secrets_file"),
        (LEAST.replace("currency", "curency"), "curency: no such setting"),
        (LEAST.replace('"CNY"', "1"), "currency"),
        (LEAST.replace('"web"', '""'), "store_id"),
        (LEAST + 'confirm_on = "cancelled"', "confirm_on: expected paid or completed"),
        (LEAST + "capture_on = []", "capture_on"),
        (LEAST + 'exclude_tax = "no"', "exclude_tax"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, policy: str, named: str) -> None:
    with pytest.raises(Unreadable, match=named):
        load(tmp_path, policy)


@pytest.mark.parametrize("secrets", ["", "short", f"{OLD}\n{NEW}\n{OLD}"])
def test_a_secret_that_protects_nothing_is_refused_without_showing_it(tmp_path: Path, secrets: str) -> None:
    with pytest.raises(Unreadable) as caught:
        load(tmp_path, secrets=secrets)

    assert not secrets or secrets not in str(caught.value)


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="chmod 600"):
        load(tmp_path, mode=0o644)
