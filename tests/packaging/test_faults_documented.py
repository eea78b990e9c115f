"""docs/faults.md names, for each fault, a test that exists."""

import ast
import re

import pytest

from tests.packaging.working import ROOT

PAGE = (ROOT / "docs/faults.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "shown by" not in line]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60].split(" |")[0])
def test_each_fault_names_a_test_that_exists(row: str) -> None:
    *_, said, shown = (cell.strip() for cell in row.strip("|").split("|"))
    named = NAMED.fullmatch(shown)
    assert said and named, row
    module = ast.parse((ROOT / named[1]).read_text())
    functions = [each.name for each in ast.walk(module) if isinstance(each, ast.FunctionDef)]
    assert named[2] in functions


def test_the_page_is_linked() -> None:
    assert len(ROWS) > 40
    assert "docs/faults.md" in (ROOT / "README.md").read_text()
