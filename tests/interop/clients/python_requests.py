"""requests: one session for the whole plan."""  # noqa: INP001 # run, not imported

import sys
from collections.abc import Iterator
from pathlib import Path

import requests


def pieces(path: Path) -> Iterator[bytes]:
    """Give the file's content piece by piece; of these requests makes chunks."""
    with path.open("rb") as file:
        while piece := file.read(65536):
            yield piece


plan, answers = map(Path, sys.argv[1:])
with requests.Session() as session:
    for line in plan.read_text().splitlines():
        step, method, url, body, how = line.split("\t")
        fields = {"Authorization": "Basic Y2xpZW50OmNsaWVudA=="}
        content: bytes | Iterator[bytes] | None = None
        if how != "none":
            fields["Content-Type"] = "application/json"
            content = pieces(Path(body)) if how == "chunked" else Path(body).read_bytes()
        if how == "expect":
            fields["Expect"] = "100-continue"  # it does not wait for the answer, and has to skip it
        answer = session.request(method, url, data=content, headers=fields, timeout=20)
        (answers / step).write_bytes(answer.content)
        sys.stdout.write(f"{step}\t{answer.status_code}\t{answer.headers.get('Content-Type')}\n")
