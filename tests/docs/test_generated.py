"""What is made by a script is as the script would make it now."""

from __future__ import annotations

from proxy.settings.reference import settings_table
from tests.docs.pages import README


def test_the_table_of_settings_is_current() -> None:
    """Between its markers, the README has the table that the code makes (`make generate` writes it)."""
    _, _, rest = README.partition("<!-- settings:begin -->\n")
    table, end, _ = rest.partition("<!-- settings:end -->")
    assert end
    assert table == settings_table()
