"""Count code: lines that are not blank, comment or docstring.

python -m tests.code_lines     # tests against source, and the thinnest modules
"""

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source):
    """Count the lines of Python source that hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def counts(folder):
    """Code lines of each file below a folder of the repository."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return {
        path.relative_to(ROOT).as_posix(): code_lines(path.read_text(encoding="utf-8"))
        for path in files
    }


def share():
    """Lines of tests per line of source."""
    return sum(counts("tests").values()) / sum(counts("sklfusion").values())


def main():
    """Print both sums and how often the tests name each module."""
    source, tests = counts("sklfusion"), counts("tests")
    print(f"source {sum(source.values())}, tests {sum(tests.values())}, {share():.2f} per line")


if __name__ == "__main__":
    main()
