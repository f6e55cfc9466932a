"""The promises of docs/reliability.md name tests, and its tables match the tests' tables."""

from tests.docs.pages import PAGES, ROOT, names, rows, section
from tests.reliability import api_faults, test_token_faults
from tests.reliability.api_faults import LOGINS, PLAYED, Way, cells
from tests.reliability.test_api_faults import TOLD
from tests.reliability.test_orders import ALLOWED
from tests.reliability.test_token_faults import FAULTS, expected

PAGE = PAGES["docs/reliability.md"]
PROMISES = rows(section(PAGE, "Promises"))


def test_every_promise_names_its_tests() -> None:
    """Each row of the promises names the files that test it."""
    assert len(PROMISES) > 10
    assert [row[0] for row in PROMISES if not names(row[1])] == []
    named = {name for row in PROMISES for name in names(row[1])}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_the_states_in_which_the_api_fails_are_those_that_are_played() -> None:
    """What each of them adds to a cell, and the ways that are taken then."""
    shown = {row[0]: row[1:] for row in rows(section(PAGE, "In which state of the token"))}
    assert set(shown) == {phase.value for phase in api_faults.Phase}
    for phase in api_faults.Phase:
        want = [
            api_faults.expected(HARMLESS, phase, is_order=is_order) for is_order in (False, True)
        ]
        assert len({(cell.sent, cell.logins, cell.ready) for cell in want}) == 1
        sent, logins, _, events, ways = (cell for cell in shown[phase.value])
        assert (sent, logins) == (str(want[0].sent - 1), str(LOGINS[phase]))
        assert shown[phase.value][2] == "yes" if want[0].ready else "no"
        assert names(events) == TOLD[phase]
        assert ways.split("; ") == [way.value for way in PLAYED[phase]]


#: One that adds nothing of its own.
HARMLESS = api_faults.FAULTS["an answer in two pieces"]


def test_the_faults_of_the_api_are_those_that_are_played() -> None:
    """Status, log words, number of sendings and of placed orders match the tests' faults."""
    shown = {row[0]: row[1:] for row in rows(section(PAGE, "What goes wrong at the API"))}
    assert set(shown) == set(api_faults.FAULTS)
    for name, fault in api_faults.FAULTS.items():
        fresh = api_faults.Phase.FRESH
        is_sent = api_faults.expected(fault, fresh, is_order=True)
        safe = (
            "-"
            if fault.needs_content
            else str(api_faults.expected(fault, fresh, is_order=False).sent)
        )
        own = "the API's" + (", cut off" if fault.cut else "")
        assert shown[name] == [
            own if fault.status is None else str(is_sent.status),
            f"`{is_sent.error}`" if is_sent.error else "-",
            f"`{is_sent.outcome}`" if is_sent.outcome else "-",
            str(is_sent.sent),
            safe,
            str(is_sent.placed),
        ]


def test_the_cells_are_counted() -> None:
    """The page says how many there are of each kind, and each way is among them."""
    played = list(cells())
    assert {way for _, _, way, _ in played} == set(Way)
    assert f"{len(played)} cells in all" in " ".join(section(PAGE, "When the API fails").split())
    count = len(test_token_faults.CELLS)
    assert f"{count} cells in all" in " ".join(
        section(PAGE, "When the token endpoint fails").split()
    )


def test_every_run_that_was_counted_names_its_command() -> None:
    """Each row has figures, and its command names a file that exists."""
    shown = rows(section(PAGE, "Counts"))
    assert len(shown) > 5
    assert "@" not in PAGE
    for _, command, counted in shown:
        (typed,) = names(command)
        assert counted
        assert (
            typed.startswith("make soak") or (ROOT / typed.split()[-1].partition("::")[0]).is_file()
        ), typed


def test_the_phases_are_those_that_are_played() -> None:
    """When a fault meets the proxy, and what an order then comes to, for a fault that passes."""
    shown = {row[0]: row[1:] for row in rows(section(PAGE, "When it meets the proxy"))}
    fault = FAULTS["503"]
    assert set(shown) == {phase.value for phase in test_token_faults.Phase}
    for phase in test_token_faults.Phase:
        want = expected(fault, phase)
        status = f"{want.status}" if want.status == 200 else f"{want.status} `not_sent`"
        logins = str(want.calls) if want.status == 200 else "as below"
        assert shown[phase.value] == [
            status,
            str(want.sent),
            str(want.placed),
            logins,
            "yes" if want.ready else "no",
        ]


def test_the_faults_are_those_that_are_played() -> None:
    """Each fault has its reason in the log, the logins during a wait, and `Retry-After`."""
    shown = {row[0]: row[1:] for row in rows(section(PAGE, "What goes wrong"))}
    assert set(shown) == set(FAULTS)
    for name, fault in FAULTS.items():
        code = f" {fault.code}" if fault.code else ""
        assert shown[name] == [
            f"`{fault.reason}`{code}",
            str(len(fault.pauses)),
            f"{fault.pauses[-1]} s",
        ]


def test_the_outcomes_are_those_that_are_counted() -> None:
    """Each outcome for a client, and how often the API may have accepted the order."""
    shown = {row[0]: row[1] for row in rows(section(PAGE, "What a client knows of its order"))}
    assert shown == {
        outcome: " or ".join(str(count) for count in sorted(counts))
        for outcome, counts in ALLOWED.items()
    }
