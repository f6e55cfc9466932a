"""`telenor-proxy orders` with `orders.store: memory`, where another server has the admin port."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from proxy.orders.command import OrdersCommand
from proxy.orders.store import StoreAway
from proxy.settings import AdminSettings, OrdersSettings


class _Other(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    do_DELETE = do_GET  # noqa: N815 # the name that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[b"{}", b"[]", b"null"])
def command(request: pytest.FixtureRequest) -> Iterator[OrdersCommand]:
    """Ask a server that answers 200, with content that is not the proxy's."""
    handler = type("Other", (_Other,), {"content": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        admin = AdminSettings(port=server.server_port)
        yield OrdersCommand(OrdersSettings(store="memory"), lambda: admin)
        server.shutdown()


def test_nothing_is_called_forgotten_by_a_server_that_knows_no_orders(
    command: OrdersCommand,
) -> None:
    """An operator who is told so would have the order placed again."""
    with pytest.raises(StoreAway, match="knows of no orders"):
        command.forget("abc")


def test_a_listing_of_a_server_that_knows_no_orders_is_refused_in_words(
    command: OrdersCommand,
) -> None:
    """There is no traceback."""
    with pytest.raises(StoreAway, match="knows of no orders"):
        command.listing(unknown=False, as_json=False)
