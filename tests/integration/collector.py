"""An OpenTelemetry collector: receives spans by OTLP over HTTP, and keeps them for the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """What it received, and the status that it answers."""

    status: int = 200
    url: str = ""
    #: The requests: path, header fields, content.
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request."""
        content = await request.read()
        fields = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, fields, content))
        return web.Response(status=self.status)

    def messages(self) -> list[ExportTraceServiceRequest]:
        """Return what it received, decoded."""
        return [ExportTraceServiceRequest.FromString(content) for _, _, content in self.requests]

    def spans(self) -> list[Span]:
        """Give all spans."""
        return [
            span
            for message in self.messages()
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, Any]:
        """Give what the last request says of the service."""
        return values(self.messages()[-1].resource_spans[0].resource.attributes)


def values(attributes: Any) -> dict[str, Any]:
    """Give attributes as a dictionary."""

    def plain(attribute: KeyValue) -> object:
        kind = attribute.value.WhichOneof("value")
        return getattr(attribute.value, kind or "string_value")

    return {attribute.key: plain(attribute) for attribute in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run one on loopback."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/{path:.*}", collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
