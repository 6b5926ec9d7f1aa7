"""A coordinator's HTTP listener that does what a test says."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import unittest
from collections.abc import Callable
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request by the next of the server's answers. The last one stays."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        with self.server.lock:
            self.server.requests.append((f"{self.command} {self.path}", dict(self.headers), body))
            answer = self.server.answers[0] if len(self.server.answers) == 1 else self.server.answers.pop(0)
        answer(self)

    do_GET = do_POST = do_DELETE = handle_one

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, status: int, content: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def drop(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        pass  # A client that goes away is no fault of a test.


def serve(case: unittest.TestCase, *answers: Answer) -> Server:
    """Start a server that ends with the test."""
    server = Server()
    server.answers = list(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    case.addCleanup(end)
    return server


def sent(status: int, content: bytes, kind: str) -> Answer:
    return lambda handler: handler.send(status, content, kind)


def ok(content: Any) -> Answer:
    return sent(200, json.dumps(content).encode(), "application/json")


def zipped(content: Any) -> Answer:
    data = gzip.compress(json.dumps(content).encode())
    return lambda handler: handler.send(200, data, "application/json", Content_Encoding="gzip")


def problem(status: int, code: str, detail: str, errors: Any = (), **headers: str) -> Answer:
    content = json.dumps({"status": status, "code": code, "detail": detail, "errors": list(errors)}).encode()
    return lambda handler: handler.send(status, content, "application/problem+json", **headers)


def drop(handler: Handler) -> None:
    handler.drop()


def dropping(after: threading.Event) -> Answer:
    def answer(handler: Handler) -> None:
        after.wait()
        handler.drop()

    return answer


def events(*texts: str, then: Callable[[], object] = lambda: None) -> Answer:
    """Send the text of events, do something, and end the connection."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for text in texts:
            data = text.encode()
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        handler.wfile.flush()
        then()
        handler.close_connection = True

    return answer
