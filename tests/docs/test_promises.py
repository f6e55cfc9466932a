"""Every promise of the security page names the files whose tests hold it."""

from tests.docs.pages import ROOT, SECURITY, names, rows

_, _, _REST = SECURITY.partition("<!-- promises:begin -->")
PROMISES = rows(_REST.partition("<!-- promises:end -->")[0])


def test_every_promise_has_its_tests() -> None:
    """No row is without a file, and each file is there."""
    assert len(PROMISES) > 10
    assert [row[0] for row in PROMISES if not names(row[1])] == []
    named = {name for row in PROMISES for name in names(row[1])}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
