"""Bytes for standard output and standard error: always UTF-8, never a control character, quiet when the reader left."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO


class ReaderGone(Exception):
    """Whoever read our output closed it (`| head`)."""


def answer(value: Any) -> None:
    """An answer as JSON: indented for a person, one line for a program."""
    _write(sys.stdout, _json(value, sys.stdout) + "\n")


def event(value: Any) -> None:
    """One event of a stream: one line, at once."""
    _write(sys.stdout, _json(value) + "\n")


def text(value: str) -> None:
    """Lines for people, made by ourselves."""
    _write(sys.stdout, value if value.endswith("\n") else value + "\n")


def error(value: Any) -> None:
    """The error object on standard error; nowhere when that is closed too."""
    try:
        _write(sys.stderr, _json({"error": value}, sys.stderr) + "\n")
    except ReaderGone:
        silence(sys.stderr)


def note(value: str) -> None:
    """A sentence for a person at a terminal; programs that read standard error see only errors."""
    if _is_terminal(sys.stderr):
        _write(sys.stderr, value + "\n")


def silence(stream: TextIO) -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain at its end."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _json(value: Any, stream: TextIO | None = None) -> str:
    from opsconsole.engine.canonical import dumps

    return dumps(value, indent=2 if stream is not None and _is_terminal(stream) else None)


def _write(stream: TextIO, value: str) -> None:
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(value)
        else:
            buffer.write(value.encode("utf-8", "backslashreplace"))
        stream.flush()
    except (BrokenPipeError, ConnectionResetError) as gone:
        raise ReaderGone from gone


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False
