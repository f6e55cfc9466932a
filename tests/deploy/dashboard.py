"""Reads the dashboard for Grafana: its panels, and what each of them asks Prometheus for."""

import json
from typing import Any, Final, NamedTuple

from tests.deploy.tools import DEPLOY

TEXT: Final = (DEPLOY / "grafana" / "telenor-proxy.json").read_text(encoding="utf-8")
DASHBOARD: Final[dict[str, Any]] = json.loads(TEXT)
PANELS: Final[list[dict[str, Any]]] = [
    each for each in DASHBOARD["panels"] if each["type"] != "row"
]
VARIABLES: Final[dict[str, dict[str, Any]]] = {
    each["name"]: each for each in DASHBOARD["templating"]["list"]
}


class Query(NamedTuple):
    """What a panel asks for."""

    panel: str
    expression: str


QUERIES: Final = [
    Query(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]
]
