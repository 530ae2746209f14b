"""A static web server on loopback, which can be made to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Server:
    """A folder on a server.

    Attributes:
        url: Where it is served.
        requests: "PATH" or "PATH from N" of every request, in order.
        cut: Bytes after which the next answers break off, one entry per answer.
        ranges: Whether it answers requests for a part with that part.
        lies: Path -> what is served in place of the file.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    ranges: bool = True
    lies: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serves a folder while the block runs."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = self.path.lstrip("/")
            header = self.headers.get("Range")
            start = int(header.removeprefix("bytes=").removesuffix("-")) if header else 0
            server.requests.append(f"{place} from {start}" if start else place)
            path = folder / place
            if place not in server.lies and not path.is_file():
                self.send_error(404)
                return
            content = server.lies.get(place) or path.read_bytes()
            partial = bool(start) and server.ranges
            if partial and start >= len(content):
                self.send_error(416)
                return
            body = content[start:] if partial else content
            self.send_response(206 if partial else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.cut.pop(0)] if server.cut else body)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
