"""Every file and every function is small enough to be read at one go."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("src", "tests", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
FILE_LINES = 500
FUNCTION_LINES = 60


def oversized(source: str) -> list[str]:
    """What is too long in a file, with its number of lines. Decorators do not count."""
    lines = len(source.splitlines())
    found = [f"file: {lines}"] if lines > FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            found += [f"{node.name}: {lines}"] if lines > FUNCTION_LINES else []
    return found


def test_sizes():
    found = {
        str(path.relative_to(ROOT)): oversized(path.read_text(encoding="utf-8")) for path in FILES
    }
    assert {path: parts for path, parts in found.items() if parts} == {}


def test_what_is_too_long_is_found():
    function = "    async def inner():\n" + "        pass\n" * 59
    assert oversized(f"class Outer:\n{function}") == []
    assert oversized(f"class Outer:\n{function}        pass\n") == ["inner: 61"]
    assert oversized("\n" * 500) == []
    assert oversized("\n" * 501) == ["file: 501"]
    assert {path.relative_to(ROOT).parts[0] for path in FILES} >= {"src", "tests", "benchmarks"}
