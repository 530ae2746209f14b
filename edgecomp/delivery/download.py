"""Downloads that resume where they stopped."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecomp.errors import InputError, UpdateError

_CHUNK = 1 << 16
#: Seconds without a byte after which a connection counts as lost.
_PATIENCE = 30.0
#: How often a download is tried in one run.
_ATTEMPTS = 3


class Site:
    """A site on a static web server, and a folder for partial downloads.

    Args:
        url: The address of the folder of `index.json`, http or https.
        partial: The folder for unfinished downloads, kept from one run to the next.
        arrived: Called with the number of bytes of every piece.

    Raises:
        InputError: The address is not http or https.
    """

    def __init__(self, url: str, partial: Path, arrived: Callable[[int], None] = lambda count: None) -> None:
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise InputError(
                url,
                expected="the http or https address of a published site",
                actual="another kind of address",
                cure="give the address of the folder that index.json lies in",
            )
        self._url = url if url.endswith("/") else f"{url}/"
        self._partial = partial
        self._arrived = arrived

    def read(self, place: str, limit: int, *, resume: bool = True) -> bytes:
        """Downloads a file of the site.

        Args:
            place: Its path relative to the site.
            limit: The largest number of bytes to accept.
            resume: Whether to continue an earlier download; not for files that change.

        Raises:
            UpdateError: The server does not have it, sends too much, or the connection was lost too often.
        """
        self._partial.mkdir(parents=True, exist_ok=True)
        kept = self._partial / place.replace("/", "-")
        if not resume:
            kept.unlink(missing_ok=True)
        problem: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                self._receive(place, kept, limit)
            except urllib.error.HTTPError as error:
                error.close()
                raise self._failed(place, f"HTTP status {error.code}") from None
            except (OSError, http.client.HTTPException) as error:
                problem = error
                continue
            content = kept.read_bytes()
            kept.unlink()
            return content
        if isinstance(problem, urllib.error.URLError):  # nobody answered, at least in the last try
            cure = "check the address, and that the site is served there; then run the same again"
            raise self._failed(place, f"no answer: {problem.reason}", cure)
        raise self._failed(place, f"the connection was lost: {problem}")

    def _receive(self, place: str, kept: Path, limit: int) -> None:
        start = kept.stat().st_size if kept.exists() else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        request = urllib.request.Request(self._url + place, headers=headers)
        try:
            response = urllib.request.urlopen(request, timeout=_PATIENCE)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            error.close()
            return  # the file was complete already
        with response:
            goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
            with kept.open("ab" if goes_on else "wb") as file:
                self._store(response, file, limit - file.tell(), place)

    def _store(self, response: Any, file: Any, room: int, place: str) -> None:
        while chunk := response.read1(_CHUNK):
            room -= len(chunk)
            if room < 0:
                file.truncate(0)
                raise self._failed(place, "more bytes than were published")
            file.write(chunk)
            file.flush()
            self._arrived(len(chunk))
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)

    def _failed(
        self, place: str, actual: str, cure: str = "run the same again: what arrived is kept; nothing was changed"
    ) -> UpdateError:
        return UpdateError(self._url + place, expected="a file of a published site", actual=actual, cure=cure)
