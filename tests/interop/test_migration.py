"""The examples of docs/migration.md, run as they stand: each stack places one order."""

import json
import re
import ssl
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import pytest
import trustme
import yaml

from tests.docs.pages import BLOCKS
from tests.e2e.process import ACCOUNTS, DEADLINE, ORDER, ORDERS, Running, Starter, configuration
from tests.interop.parts import PROGRAMS, Recorder

PAGE: Final = "docs/migration.md"
LISTENER: Final = "http://127.0.0.1:8080"
CONTENT: Final = json.dumps(ORDER)

#: Around the page's Java, which gets its order and its base URL from somewhere.
JAVA: Final = """
import java.net.HttpURLConnection;
import java.net.URL;

class Main {
    public static void main(String[] arguments) throws Exception {
        String baseUrl = arguments[0], order = arguments[1], proxyKey = "key-of-the-erp";
        %s
        System.out.println(status);
    }
}
"""
PHP: Final = (
    '<?php\n[, , $order] = $argv;\n$proxyKey = "key-of-the-erp";\n%s\necho $status, "\\n";\n'
)
PERL: Final = (
    "use strict;\nuse warnings;\nuse HTTP::Tiny;\nmy (undef, $order) = @ARGV;\nmy "
    '$proxy_key = "key-of-the-erp";\n%s\nprint "$answer->{status}\\n";\n'
)


class Stack(NamedTuple):
    """How a language's example runs. having: a word of its block. runner: of PROGRAMS."""

    file: str
    frame: str
    having: str
    runner: str


STACKS: Final = {
    "java": Stack("Main.java", JAVA, "setDoOutput", "java"),
    "php": Stack("order.php", PHP, "CURLOPT_NOPROXY", "php-curl"),
    "perl": Stack("order.pl", PERL, "no_proxy", "perl"),
}
#: By language: the line of the page's code that sets the content type, and whether it stays beside
#: the line that sends the key.
CONTENT_TYPE_LINES: Final = {
    "java": (r"^call\.setRequestProperty.*\n", True),
    "php": (r"^curl_setopt\(\$call, CURLOPT_HTTPHEADER.*\n", False),
    "perl": (r"^    \{content => \$order.*\n", False),
}


def shown(language: str, having: str) -> str:
    """Return the block of the page in that language that has a word in it."""
    (text,) = (
        block.text
        for block in BLOCKS
        if block.page == PAGE and block.language == language and having in block.text
    )
    return text


@pytest.fixture
async def proxy(starter: Starter, recorder: Recorder) -> Running:
    """Run the proxy."""
    return await starter.ready(configuration(recorder.url))


def ordered_once(recorder: Recorder) -> None:
    """See that the API has got one order, as it was sent, with the proxy's token alone."""
    (call,) = recorder.calls
    assert (call.method, call.target, call.status) == ("POST", ORDERS, 201)
    assert json.loads(call.content) == ORDER
    (credential,) = call.all("authorization")
    assert credential.removeprefix("Bearer ") in {token.value for token in recorder.sandbox.issued}
    assert len(recorder.sandbox.orders) == 1


async def placed(language: str, url: str, place: Path, *, named: bool = False) -> list[str]:
    """Place an order with the page's code, as a named client or not; return the lines it prints."""
    stack = STACKS[language]
    code = shown(language, stack.having)
    assert "get_token" not in code
    if named:
        line, stays = CONTENT_TYPE_LINES[language]
        (before,) = re.findall(line, code, re.MULTILINE)
        code = code.replace(before, (before if stays else "") + shown(language, "X-Proxy-Key"))
    program = place / stack.file
    program.write_text(stack.frame % code.replace(LISTENER, url), encoding="utf-8")
    status, output, errors = await PROGRAMS[stack.runner].run(program, url, CONTENT, place=place)
    assert status == 0, output + errors
    return output.splitlines()


@pytest.mark.parametrize("language", STACKS)
async def test_a_stack_orders_without_a_login(
    language: str, recorder: Recorder, proxy: Running, tmp_path: Path
) -> None:
    """The page's code, with the test's order and address, places one order."""
    assert await placed(language, await proxy.url(), tmp_path) == ["201"]
    ordered_once(recorder)


@pytest.mark.parametrize("language", STACKS)
async def test_a_stack_orders_as_a_named_client(
    language: str, recorder: Recorder, starter: Starter, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """With the page's line for the key, the order and the key's use count for the client."""
    config = configuration(recorder.url, **yaml.safe_load(shown("yaml", "allowed_methods")))
    config["listen"]["port"] = 0
    for client in config["listen"]["clients"]:  # type: ignore[attr-defined]
        file = tmp_path / client["key_file"]
        file.write_text(f"key-of-the-{client['name']}\n", encoding="utf-8")
        client["key_file"] = str(file)
    proxy = await starter.ready(config)
    assert await placed(language, await proxy.url(), tmp_path, named=True) == ["201"]
    ordered_once(recorder)
    await proxy.event("request.completed")
    async with http.get(await proxy.admin_url("/status")) as answer:
        erp, report = (await answer.json())["clients"]["by_name"]
    assert (erp["name"], erp["calls"], erp["refused"], report["calls"]) == ("erp", 1, 0, 0)
    assert [key["position"] for key in erp["keys"]] == [1]
    assert erp["keys"][0]["last_used_at"] == pytest.approx(erp["last_call_at"], abs=DEADLINE)


async def test_a_script_reads_the_outcome(
    recorder: Recorder, proxy: Running, tmp_path: Path
) -> None:
    """If the API breaks off after the request, the page's Perl says that the outcome is unknown."""
    recorder.sandbox.fault("api_drop", None, 1)
    lines = await placed("perl", await proxy.url(), tmp_path)
    assert lines == ["status 502, outcome unknown", "502"]


def test_the_configuration_of_dotnet_is_xml() -> None:
    """The base URL is the listener's, and the bypass expression matches its host and no other."""
    root = ET.fromstring(shown("xml", "TelenorBaseUrl"))  # noqa: S314 # a page of the repository
    (setting,) = root.iterfind("appSettings/add")
    assert setting.attrib == {"key": "TelenorBaseUrl", "value": LISTENER}
    (bypass,) = root.iterfind("system.net/defaultProxy/bypasslist/add")
    assert re.search(bypass.attrib["address"], LISTENER)
    assert not re.search(bypass.attrib["address"], "http://127.0.001:8080")


async def test_a_proxy_setting_is_enough(
    recorder: Recorder, starter: Starter, tmp_path: Path
) -> None:
    """The page's command, which uses the proxy as a forward proxy, reaches the API."""
    text = shown("yaml", "api.telenor.no")
    config = configuration(recorder.url, **yaml.safe_load(text))
    url = await (await starter.ready(config)).url()
    (command,) = (
        block.text for block in BLOCKS if block.page == PAGE and "curl --proxy" in block.text
    )
    script = tmp_path / "command.sh"
    script.write_text(f"{command.strip().replace(LISTENER, url)} --silent --show-error --fail")
    status, output, errors = await PROGRAMS["curl"].run(script, place=tmp_path)
    assert status == 0, output + errors
    assert [(call.method, call.target) for call in recorder.calls] == [("GET", ACCOUNTS)]


# --- what stands in between --------------------------------------------------------------------


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Be an application."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as session:
        yield session


async def test_an_application_that_speaks_https_only(
    recorder: Recorder, starter: Starter, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """One that trusts the authority orders with the page's configuration."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "localhost.crt"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "localhost.key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    config = configuration(recorder.url, **yaml.safe_load(shown("yaml", "tls_certificate_file")))
    config["listen"]["port"] = 0
    running = await starter.ready(config)
    port = (await running.event("listener.started"))["port"]
    async with http.post(f"https://localhost:{port}{ORDERS}", json=ORDER, ssl=context) as answer:
        assert answer.status == 201
    ordered_once(recorder)


async def test_a_login_that_means_nothing(
    recorder: Recorder, starter: Starter, http: aiohttp.ClientSession
) -> None:
    """An application that logs in gets a token and orders with it; the API gets the proxy's."""
    config = configuration(recorder.url, **yaml.safe_load(shown("yaml", "answer_login")))
    config["listen"]["port"] = 0
    base = await (await starter.ready(config)).url("")
    basic = {"Authorization": aiohttp.encode_basic_auth("not-used", "not-used")}
    form = {"grant_type": "password", "username": "not-used", "password": "not-used"}
    async with http.post(f"{base}/oauth/v2/token", data=form, headers=basic) as answer:
        assert answer.status == 200
        token = (await answer.json())["access_token"]
    fields = {"Authorization": f"Bearer {token}"}
    async with http.post(f"{base}{ORDERS}", json=ORDER, headers=fields) as answer:
        assert answer.status == 201
    async with http.get(f"{base}/oauth/v2/logout", headers=fields) as answer:
        assert await answer.text() == "OK!"
    ordered_once(recorder)
