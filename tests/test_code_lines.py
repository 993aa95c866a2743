"""As many lines of tests as the source can be trusted with, and a count that counts right."""

from tests.code_lines import code_lines, share

#: Lines of tests per line of source. Below, new code has come without tests.
LEAST = 0.9


def test_blank_lines_comments_and_docstrings_are_no_code():
    """What is left is what a change could break."""
    source = '''"""A module.

With a docstring of three lines."""

# a comment

import os  # and one beside code


class A:
    """One line."""

    text = """a string
    that is data"""

    def f(self):
        """Says

        much.
        """
        return (
            1,

            # inside
            2,
        )
'''
    assert code_lines(source) == 1 + 1 + 2 + 1 + 4


def test_nothing_is_nothing():
    """An empty file, and one of words alone."""
    assert code_lines("") == 0
    assert code_lines('"""Words."""\n# more\n') == 0
    assert code_lines("def f():\n    '''Words.'''\n") == 1


def test_the_source_has_its_tests():
    """Counted over the whole tree."""
    assert share() >= LEAST
