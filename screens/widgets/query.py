"""The filter language of every list: words, `!not`, `column:value`, `@environment`, `#tag`, `~fuzzy`.

Terms are separated by spaces and all must hold; quotes keep spaces together. Whatever is typed means something: a
column nobody knows makes its term an ordinary word, and half a term (`!`, `@`) holds for everything, so a list never
goes blank in the middle of typing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_TERM = re.compile(r'(!?)((?:[^\s":]+:)?"[^"]*"?|\S+)')


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `kind`: word, column, environment, tag, fuzzy; `value` is lower case."""

    kind: str
    value: str
    column: str = ""
    negated: bool = False


@dataclass(frozen=True)
class Subject(Generic[T]):
    """How the filter looks at a record. All texts are lower case.

    `words` is everything a plain word is searched in; `fields` are the names of `column:`; `environments` the names
    that `@` may mean (the environment's and its level's).
    """

    words: Callable[[T], str]
    fields: Collection[str] = ()
    field: Callable[[T, str], str] = lambda record, name: ""
    environments: Callable[[T], Collection[str]] = lambda record: ()
    tags: Callable[[T], Collection[str]] = lambda record: ()


def parse(text: str, columns: Collection[str]) -> tuple[Term, ...]:
    """The terms of a filter text; `columns` are the names that may stand before a colon."""
    terms: list[Term] = []
    for match in _TERM.finditer(text):
        negated, raw = match.group(1) == "!", match.group(2).lower()
        column, colon, rest = raw.partition(":")
        if colon and column in columns:
            term = Term("column", rest.strip('"'), column, negated)
        elif raw[0] in "@#~":
            kind = {"@": "environment", "#": "tag", "~": "fuzzy"}[raw[0]]
            term = Term(kind, raw[1:].strip('"'), negated=negated)
        else:
            term = Term("word", raw.strip('"'), negated=negated)
        if term.value and term.value != "!":
            terms.append(term)
    return tuple(terms)


def matcher(text: str, subject: Subject[T]) -> Callable[[T], bool] | None:
    """The filter as a function of a record; None when it holds for everything."""
    tests = [_test(term, subject) for term in parse(text, subject.fields)]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda record: all(test(record) for test in tests)


def _test(term: Term, subject: Subject[T]) -> Callable[[T], bool]:
    value, negated = term.value, term.negated
    words, field = subject.words, subject.field
    if term.kind == "column":
        return lambda record: (value in field(record, term.column)) is not negated
    if term.kind == "environment":
        return lambda record: any(name.startswith(value) for name in subject.environments(record)) is not negated
    if term.kind == "tag":
        return lambda record: any(tag.startswith(value) for tag in subject.tags(record)) is not negated
    if term.kind == "fuzzy":
        return lambda record: _in_order(value, words(record)) is not negated
    return lambda record: (value in words(record)) is not negated


def _in_order(letters: str, text: str) -> bool:
    """Whether the letters occur in the text in this order, with anything between."""
    position = -1
    for letter in letters:
        position = text.find(letter, position + 1)
        if position < 0:
            return False
    return True
