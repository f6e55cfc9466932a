"""What of a whole proxy follows when its settings change at run time."""

from typing import Any
from unittest.mock import Mock

from proxy.app import Proxy
from proxy.logs import Redactor
from proxy.network.egress import Login
from proxy.secret import Secret
from tests.unit.made import settings

#: A password that may stand where the code of an error does.
NEW = "7654321"


async def test_new_credentials_are_secrets_too() -> None:
    """From the change on one is masked, and is no code of an error that the API answers."""
    redactor = Redactor()
    proxy = Proxy(settings(), Mock(), redactor)
    content = b'{"errorCode": "%b"}' % NEW.encode()
    assert (proxy._error_code(content, b""), redactor(NEW)) == (NEW, NEW)
    proxy._follow(settings(oauth={"password": NEW}))
    assert (proxy._error_code(content, b""), redactor(NEW)) == (None, "***")


async def test_a_new_login_at_the_companys_proxy_is_used() -> None:
    """By connections that are made from the change on."""
    upstream: dict[str, Any] = {"proxy_url": "http://proxy.example:3128", "proxy_username": "me"}
    proxy = Proxy(settings(upstream=upstream | {"proxy_password": "old"}), Mock(), Redactor())
    proxy._follow(settings(upstream=upstream | {"proxy_password": NEW}))
    company = proxy._dialer.through()
    assert company is not None
    assert company.login == Login("me", Secret(NEW))


async def test_a_new_client_has_its_series() -> None:
    """From the change on, at 0."""
    proxy = Proxy(settings(), Mock(), Redactor())
    client = {"name": "erp", "key": "k" * 32}
    proxy._follow(settings(listen={"clients": [client]}))
    labels = {"client": "erp", "status_class": "2xx"}
    name = "telenor_proxy_client_requests_total"
    assert proxy._metrics.registry.get_sample_value(name, labels) == 0
