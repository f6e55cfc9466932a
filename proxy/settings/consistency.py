"""What is right one by one but not together: which settings contradict each other, and in which words that is said."""

from collections.abc import Collection, Iterator

from proxy.settings.catalogue import Settings
from proxy.settings.model import ListenSettings, OrdersSettings, UpstreamSettings
from proxy.settings.origin import Origin
from proxy.settings.values import is_below, why_no_pair

#: The paths concerned, and the words for the first of them.
Contradiction = tuple[tuple[str, ...], str]


def contradictions(settings: Settings, given: Collection[str]) -> Iterator[Contradiction]:
    """Yield what is right one by one but not together: the paths concerned, and the words for the first of them.

    given: the paths of the settings that somebody has set, be it to their default.
    """
    listen, admin, upstream = settings.listen, settings.admin, settings.upstream
    if listen.unix_socket is not None:
        address = [path for path in ("listen.host", "listen.port") if path in given]
        if address:
            words = f"cannot be used together with {' and '.join(address)}. Remove one or the other"
            yield ("listen.unix_socket", *address), words
    elif listen.port and listen.port == admin.port and _overlap(listen.host, admin.host):
        words = f"is {admin.port}, the same address as the listener's. Give one of them another port"
        yield ("admin.port", "admin.host", "listen.port", "listen.host", "listen.unix_socket"), words
    if not (upstream.origin.is_tls or upstream.origin.is_loopback or upstream.allow_plaintext):
        words = (
            "would send the credentials and the token unencrypted. Use https, or set upstream.allow_plaintext"
            " to true if you trust every network on the way"
        )
        yield ("upstream.url", "upstream.allow_plaintext"), words
    yield from _circles(settings)
    yield from _own_paths(settings)
    yield from _about_tls(listen)
    yield from _about_clients(settings, given)
    yield from _about_proxy(upstream)
    yield from _about_orders(settings.orders)


def _circles(settings: Settings) -> Iterator[Contradiction]:
    """Find ways that lead back to the proxy itself."""
    listen, upstream = settings.listen, settings.upstream
    targets = [
        ("upstream.url", upstream.origin, "Set it to the API (https://api.telenor.no)"),
        ("upstream.proxy_url", upstream.proxy_origin, "Set it to the company's proxy"),
    ]
    for path, origin, advice in targets:
        for name, ours in (("listen", listen), ("admin", settings.admin)):
            if origin is None or (name == "listen" and listen.unix_socket is not None):
                continue
            if any(_leads_to(origin, host, ours.port) for host in ours.host):
                words = (
                    f"leads back to the proxy itself, by {name}.host and {name}.port."
                    f" {advice}, or {name}.port to another port"
                )
                yield (path, f"{name}.host", f"{name}.port", "listen.unix_socket"), words


def _own_paths(settings: Settings) -> Iterator[Contradiction]:
    oauth = settings.oauth
    for index, entry in enumerate(settings.upstream.allowed_paths):
        for name, own in (("oauth.token_path", oauth.token_path), ("oauth.logout_path", oauth.logout_path)):
            if is_below(entry, own):
                words = f"can never be called, since {name} is the proxy's own business. Remove the entry"
                yield (f"upstream.allowed_paths[{index}]", "upstream.allowed_paths", name), words


def _about_tls(listen: ListenSettings) -> Iterator[Contradiction]:
    certificate, key = listen.tls_certificate_file, listen.tls_key_file
    if certificate is not None:
        fault = why_no_pair(certificate, key)
        if fault is not None:
            paths = ("listen.tls_certificate_file", "listen.tls_key_file")
            yield paths if key is None else paths[::-1], fault
        return
    needs = "needs listen.tls_certificate_file as well. Set that, or remove this"
    if key is not None:
        yield ("listen.tls_key_file", "listen.tls_certificate_file"), needs
    if listen.tls_client_ca_file is not None:
        yield ("listen.tls_client_ca_file", "listen.tls_certificate_file"), needs


def _about_clients(settings: Settings, given: Collection[str]) -> Iterator[Contradiction]:
    listen, allowed = settings.listen, settings.upstream.allowed_paths
    if listen.client_key is not None and (listen.clients or "listen.clients" in given):
        words = "cannot be used together with listen.clients. Give it to one of them"
        yield ("listen.client_key",), words
    for index, client in enumerate(listen.clients):
        place = f"listen.clients[{index}]"
        if client.certificate is not None and listen.tls_client_ca_file is None:
            words = "needs listen.tls_client_ca_file, so that clients are asked for a certificate. Set that as well"
            yield (f"{place}.certificate", "listen.tls_client_ca_file"), words
        for position, path in enumerate(client.allowed_paths or ()):
            if not path.startswith(allowed):
                words = "is outside of upstream.allowed_paths. Remove the entry, or add it there"
                yield (f"{place}.allowed_paths[{position}]", "upstream.allowed_paths"), words


def _about_proxy(upstream: UpstreamSettings) -> Iterator[Contradiction]:
    named = {
        "upstream.proxy_username": upstream.proxy_username,
        "upstream.proxy_password": upstream.proxy_password,
    }
    for path, value in named.items():
        other = next(name for name in named if name != path)
        if value is not None and upstream.proxy_url is None:
            yield (path, "upstream.proxy_url"), "needs upstream.proxy_url as well. Set that, or remove this"
        elif value is not None and named[other] is None:
            yield (path, other), f"needs {other} as well. Set both, or none"


def _about_orders(orders: OrdersSettings) -> Iterator[Contradiction]:
    if orders.guard_seconds and orders.store is None:
        words = "needs orders.store, where orders are remembered. Set that as well, such as to memory"
        yield ("orders.guard_seconds", "orders.store"), words
    if orders.store_password is not None and orders.store_kind != "redis":
        words = "needs the URL of a Valkey or Redis in orders.store. Set that, or remove this"
        yield ("orders.store_password", "orders.store"), words


def _leads_to(origin: Origin, host: str, port: int) -> bool:
    """Whether a connection to the origin ends at what listens there; localhost is 127.0.0.1, and perhaps ::1."""
    names = {"127.0.0.1" if name == "localhost" else name for name in (origin.host, host.lower())}
    every = {"::"} if ":" in origin.host else {"0.0.0.0", "::"}  # noqa: S104 # compared, not bound
    return origin.port == port and (len(names) == 1 or (host in every and origin.is_loopback))


def _overlap(ones: Collection[str], others: Collection[str]) -> bool:
    """Whether one host of each would claim the same address, be it as one of all that a wildcard takes."""
    return any(_claim_the_same(one.lower(), other.lower()) for one in ones for other in others)


def _claim_the_same(one: str, other: str) -> bool:
    if one == other or "::" in (one, other):
        return True
    hosts = {one, other}
    if "0.0.0.0" in hosts:  # noqa: S104 # compared, not bound
        return not any(":" in host for host in hosts)
    return "localhost" in hosts and not hosts.isdisjoint({"127.0.0.1", "::1"})
