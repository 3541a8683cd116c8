"""Tells a program elsewhere what happened: one JSON object by HTTPS POST.

Standard library only. TLS is verified; plain http is taken only for this machine. No redirect is followed, since a
body must not go where nobody configured it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from drivers.errors import ProtocolError, Refused, TimedOut, Unreachable, Unsupported

TIMEOUT = 5.0
_MAX_ANSWER = 4096
_HERE = {"localhost", "127.0.0.1", "::1"}
_TRIED = "tell the webhook"


def problem(url: str) -> str | None:
    """What is wrong with a webhook's address; None when it can be used."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == 0:
        return "must be https://HOST/PATH"
    if parts.username is not None or parts.password is not None:
        return "must hold no user and password; put a secret path there instead"
    if parts.scheme == "http" and parts.hostname not in _HERE:
        return "http is taken only for this machine; use https"
    return None


async def post(
    url: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT, ca_file: str | None = None, key: str = ""
) -> None:
    """Send the object; returns when it was taken (2xx). `key` goes into the header Idempotency-Key: the same one says
    that it is the same message again. `timeout` seconds is for each step of it. Raises
    DriverError, in which the path of the address is never named, because it often is a secret."""
    wrong = problem(url)
    if wrong is not None:
        raise Unsupported("webhook", _TRIED, wrong)
    parts = urlsplit(url)
    host = str(parts.hostname)
    try:
        async with asyncio.timeout(timeout + 1):
            status = await asyncio.to_thread(_send, parts, json.dumps(body).encode(), timeout, ca_file, key)
    except TimeoutError:
        raise TimedOut(host, _TRIED, f"no answer in {timeout:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(host, _TRIED, f"its certificate is not trusted: {error.verify_message}") from None
    except ValueError:
        raise Unsupported(host, _TRIED, "its address holds signs that no address has") from None
    except (OSError, ssl.SSLError) as error:
        raise Unreachable(host, _TRIED, error.strerror or type(error).__name__) from None
    except http.client.HTTPException as error:
        raise ProtocolError(host, _TRIED, f"no HTTP answer ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise Refused(host, _TRIED, f"it answered {status}", code="busy" if status in {429, 503} else "")


def _send(parts: SplitResult, body: bytes, timeout: float, ca_file: str | None, key: str) -> int:
    host, path = str(parts.hostname), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json", "User-Agent": "opsconsole", "Connection": "close"}
        if key:
            headers["Idempotency-Key"] = key
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read(_MAX_ANSWER)
        return answer.status
    finally:
        connection.close()
