"""The architecture page names modules, dependencies and directories that exist."""

import itertools
import re
import tomllib

from tests.docs.pages import ARCHITECTURE, ROOT, names, rows, section


def test_every_module_is_on_the_map() -> None:
    """The module map has each module of the package once, and none that is not there."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "proxy").rglob("*.py")}
    named = [name for row in rows(section(ARCHITECTURE, "Module map")) for name in names(row[0])]
    assert set(named) == modules
    assert len(named) == len(modules)


def test_every_dependency_has_its_reason() -> None:
    """Each run-time dependency, extras included, has a row with a reason."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *itertools.chain(*project["optional-dependencies"].values()),
    ]
    wanted = {re.split(r"[\s<>=;~!\[]", requirement)[0] for requirement in requirements}
    named = {names(row[0])[0]: row[1] for row in rows(section(ARCHITECTURE, "Dependencies"))}
    assert named.keys() == wanted
    assert all(named.values())


def test_each_answer_of_the_index_is_one_file() -> None:
    """Each question of the index is answered by one path, which exists."""
    index = rows(section(ARCHITECTURE, "Where is it?"))
    assert len(index) >= 10
    answers = [names(row[1]) for row in index]
    assert [answer for answer in answers if len(answer) != 1] == []
    assert [path for (path,) in answers if not (ROOT / path).is_file()] == []


def test_the_pictures_name_files_that_exist() -> None:
    """What stands in the pictures as a file is one."""
    pictures = "".join(
        section(ARCHITECTURE, name) for name in ("The way of a request", "The way of a token")
    )
    files = set(re.findall(r"\b(?:[a-z0-9]+/)?[a-z_]+\.py\b", pictures))
    assert files
    assert [file for file in sorted(files) if not (ROOT / "proxy" / file).exists()] == []


def test_every_kind_of_test_is_explained() -> None:
    """The last table has one row for each directory of tests."""
    directories = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/__init__.py")}
    named = {names(row[0])[0] for row in rows(section(ARCHITECTURE, "How it is tested"))}
    assert named >= directories
