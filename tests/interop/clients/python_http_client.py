"""Python's `http.client`: one connection for the whole plan."""  # noqa: INP001 # run, not imported

import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

plan, answers = map(Path, sys.argv[1:])
connection: HTTPConnection | None = None
for line in plan.read_text().splitlines():
    step, method, url, body, how = line.split("\t")
    parts = urlsplit(url)
    if connection is None:
        connection = HTTPConnection(parts.netloc, timeout=20)
    fields = {"Authorization": "Basic Y2xpZW50OmNsaWVudA=="}
    if how != "none":
        fields["Content-Type"] = "application/json"
    if how == "expect":
        fields["Expect"] = "100-continue"  # it does not wait for the answer, and has to skip it
    content = None if how == "none" else Path(body).read_bytes()
    if how == "chunked" and content is not None:
        pieces = (content[start : start + 65536] for start in range(0, len(content), 65536))
        connection.request(method, parts.path, pieces, fields, encode_chunked=True)
    else:
        connection.request(method, parts.path, content, fields)
    with connection.getresponse() as answer:
        (answers / step).write_bytes(answer.read())
        sys.stdout.write(f"{step}\t{answer.status}\t{answer.getheader('Content-Type')}\n")
