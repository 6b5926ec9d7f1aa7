"""Calls over HTTP: what is repeated and what is not, errors, streams that go on, connections that are kept."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import socket
import tempfile
import threading
import time
import unittest
from typing import Any
from unittest import mock

import fake

import trellis
from trellis import _transport
from trellis._credentials import Credentials

STUDY = {"study": {"name": "s", "state": "STUDY_STATE_RUNNING"}}


class Case(unittest.TestCase):
    def setUp(self) -> None:
        names = [name for name in os.environ if name.startswith("TRELLIS_")]
        patched = mock.patch.dict(os.environ)
        patched.start()
        self.addCleanup(patched.stop)
        for name in names:
            del os.environ[name]
        pauses = mock.patch.object(_transport, "PAUSES", (0.01, 0.02))
        pauses.start()
        self.addCleanup(pauses.stop)

    def client(self, server: fake.Server, wait: float = 30, timeout: float = 30) -> trellis.Client:
        client = trellis.Client(server.address, wait=wait, timeout=timeout)
        self.addCleanup(client.close)
        return client


class Calls(Case):
    def test_repeats_what_is_safe(self) -> None:
        busy = fake.problem(503, "UNAVAILABLE", "no leader", Retry_After="0")
        server = fake.serve(self, fake.drop, busy, fake.zipped(STUDY))
        self.assertEqual(self.client(server).study("s").state, "running")
        self.assertEqual([line for line, _, _ in server.requests], ["GET /api/v1/studies/s"] * 3)

    def test_repeats_pause_but_not_cancel(self) -> None:
        server = fake.serve(self, fake.drop, fake.ok(STUDY), fake.drop)
        client = self.client(server)
        client.pause("s")
        with self.assertRaisesRegex(trellis.UnavailableError, "lost before the answer"):
            client.cancel("s")
        self.assertEqual(len(server.requests), 3)

    def test_repeats_what_was_refused_before_it_began(self) -> None:
        busy = fake.problem(429, "RESOURCE_EXHAUSTED", "too many calls", Retry_After="0")
        server = fake.serve(self, busy, fake.ok(STUDY))
        self.client(server).cancel("s")
        self.assertEqual(len(server.requests), 2)

    def test_comes_back_when_it_is_told_to(self) -> None:
        busy = fake.problem(503, "UNAVAILABLE", "no leader", Retry_After="1")
        server = fake.serve(self, busy, fake.ok(STUDY))
        begun = time.monotonic()
        self.client(server).study("s")
        self.assertGreaterEqual(time.monotonic() - begun, 1)

    def test_gives_up(self) -> None:
        server = fake.serve(self, fake.problem(503, "UNAVAILABLE", "no leader", Retry_After="0"))
        with self.assertRaisesRegex(trellis.UnavailableError, "^no leader$") as raised:
            self.client(server, wait=1).study("s")
        self.assertEqual((raised.exception.status, raised.exception.code), (503, "UNAVAILABLE"))
        self.assertGreater(len(server.requests), 1)

    def test_nobody_answers(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        client = trellis.Client(f"127.0.0.1:{port}", wait=0.1)
        with (
            client,
            self.assertRaisesRegex(trellis.UnavailableError, "no coordinator answers at .*: connection refused"),
        ):
            client.cancel("s")

    def test_does_not_wait_forever(self) -> None:
        hold = threading.Event()
        self.addCleanup(hold.set)
        server = fake.serve(self, fake.dropping(hold))
        with self.assertRaisesRegex(trellis.UnavailableError, "has not answered in time"):
            self.client(server, wait=0, timeout=0.3).study("s")

    def test_errors_are_the_coordinators(self) -> None:
        errors = [{"field": "text", "detail": "unknown key", "line": 3, "column": 5}, {"detail": "more"}]
        server = fake.serve(self, fake.problem(400, "INVALID_ARGUMENT", "spec:3:5: unknown key", errors))
        client = self.client(server)
        with self.assertRaisesRegex(trellis.InvalidError, "^spec:3:5: unknown key$") as raised:
            client.submit("name: s\nmodel: x\n")
        self.assertEqual(raised.exception.problems[0], trellis.FieldProblem("text", "unknown key", 3, 5))
        self.assertEqual(raised.exception.problems[1].line, 0)
        for code, kind in (
            ("NOT_FOUND", trellis.NotFoundError),
            ("ALREADY_EXISTS", trellis.ExistsError),
            ("FAILED_PRECONDITION", trellis.StateError),
            ("UNAUTHENTICATED", trellis.AuthenticationError),
            ("PERMISSION_DENIED", trellis.PermissionDeniedError),
        ):
            server.answers = [fake.problem(400, code, "no")]
            with self.assertRaises(kind):
                client.study("s")

    def test_what_is_no_coordinator(self) -> None:
        server = fake.serve(self, lambda handler: handler.send(404, b"<html>nothing here</html>", "text/html"))
        client = self.client(server)
        with self.assertRaisesRegex(trellis.APIError, "status 404: <html>nothing here"):
            client.study("s")
        server.answers = [lambda handler: handler.send(200, b"hello", "text/html")]
        with self.assertRaisesRegex(trellis.Error, "without JSON: address must be the one that .* prints as its web page"):
            client.study("s")

    def test_a_problem_that_is_none(self) -> None:
        for content in (
            b"<html>",
            b'["no"]',
            b"null",
            b'{"errors": [1]}',
            b'{"errors": 1}',
            b'{"status": "x"}',
            b"\xff",
        ):
            with self.subTest(content):
                server = fake.serve(self, fake.sent(404, content, "application/problem+json"))
                with self.assertRaisesRegex(trellis.APIError, "has answered with status 404") as raised:
                    self.client(server).study("s")
                self.assertEqual(raised.exception.status, 404)
                server = fake.serve(self, fake.events("event: problem\ndata: ", content.decode("latin-1") + "\n\n"))
                with self.assertRaisesRegex(trellis.Error, "has ended the stream: "):
                    list(self.client(server).watch("s"))
        server = fake.serve(self, fake.events("data: <html>\n\n"))
        with self.assertRaisesRegex(trellis.Error, "without JSON"):
            list(self.client(server).watch("s"))

    def test_a_time_to_come_back_that_is_no_number(self) -> None:
        for text in ("\u00b2", "soon", "-1", ""):
            with self.subTest(text):
                busy = fake.problem(503, "UNAVAILABLE", "no leader", Retry_After=text)
                server = fake.serve(self, busy, fake.ok(STUDY))
                self.assertEqual(self.client(server).study("s").name, "s")

    def test_submits_again_and_finds_its_study(self) -> None:
        parsed = {"spec": {"name": "s", "model": "synthetic", "grid": [{"axes": {"a": {"integers": ["1"]}}}]}}
        exists = fake.problem(409, "ALREADY_EXISTS", "study s exists")
        there: Any = {"study": {"name": "s", "spec": {**parsed["spec"], "batch_size": 256}, "create_index": "7"}}
        server = fake.serve(self, fake.ok(parsed), fake.drop, exists, fake.ok(there))
        self.assertEqual(self.client(server).submit("name: s\n").create_index, 7)
        # Another's study of that name is not this one.
        there["study"]["spec"]["grid"] = []
        server.answers = [fake.ok(parsed), fake.drop, exists, fake.ok(there)]
        with self.assertRaises(trellis.ExistsError):
            self.client(server).submit("name: s\n")
        # Nor is one that was there before.
        there["study"]["spec"]["grid"] = parsed["spec"]["grid"]
        server.answers = [fake.ok(parsed), exists, fake.ok(there)]
        with self.assertRaises(trellis.ExistsError):
            self.client(server).submit("name: s\n")

    def test_connections_are_kept(self) -> None:
        ports: list[int] = []

        def answer(handler: fake.Handler) -> None:
            ports.append(handler.client_address[1])
            fake.ok(STUDY)(handler)

        server = fake.serve(self, answer)
        client = self.client(server)
        for _ in range(3):
            client.study("s")
        self.assertEqual(len(set(ports)), 1)

    def test_a_kept_connection_that_has_ended_is_not_used(self) -> None:
        def once(handler: fake.Handler) -> None:
            fake.ok(STUDY)(handler)
            handler.close_connection = True

        server = fake.serve(self, once)
        client = self.client(server, wait=0)
        client.study("s")
        (kept,) = client._transport._idle
        until = time.monotonic() + 20
        while not _transport._has_ended(kept.sock):
            self.assertLess(time.monotonic(), until, "the server has not ended the connection")
            time.sleep(0.01)
        # It changes something, and so would not be repeated.
        client.cancel("s")
        self.assertEqual(len(server.requests), 2)

    def test_pages(self) -> None:
        one = fake.ok({"studies": [{"name": "a"}, {"name": "b"}], "next_page_token": "t 1"})
        server = fake.serve(self, one, fake.ok({"studies": [{"name": "c"}]}))
        self.assertEqual([study.name for study in self.client(server).studies()], ["a", "b", "c"])
        self.assertEqual(server.requests[1][0], "GET /api/v1/studies?page_size=1000&page_token=t+1")

    def test_each_trial_comes_once(self) -> None:
        def page(indexes: str, modified: int, token: str = "", created: int = 5) -> fake.Answer:
            trials = [{"index": index} for index in indexes]
            numbers = {"create_index": str(created), "modify_index": str(modified)}
            return fake.ok({"trials": trials, "next_page_token": token, **numbers})

        def read(*pages: fake.Answer, order_by: str = "objective") -> tuple[list[int], list[str]]:
            server = fake.serve(self, *pages)
            trials = self.client(server).trials("s t", order_by=order_by)
            return [trial.index for trial in trials], [line for line, _, _ in server.requests]

        indexes, lines = read(page("01", 7, "t"), page("23", 7))
        self.assertEqual((indexes, len(lines)), ([0, 1, 2, 3], 2))
        # Trial 0 has moved behind the second page's first, and 4 has moved before the first page's last.
        indexes, lines = read(page("01", 7, "t"), page("203", 8), page("01", 8, "u"), page("234", 9))
        self.assertEqual(indexes, [0, 1, 2, 3, 4])
        self.assertIn("order_by=objective&losses=false&page_token=t", lines[1])
        self.assertNotIn("order_by", lines[2])
        self.assertEqual(read(page("01", 7, "t"), page("23", 8), order_by="-index")[0], [0, 1, 2, 3])
        with self.assertRaisesRegex(trellis.StateError, '"s t" was deleted and created again'):
            read(page("01", 7, "t"), page("01", 9, created=8))
        with self.assertRaisesRegex(trellis.StateError, '"s t" was deleted and created again'):
            read(page("01", 7, "t"), fake.problem(409, "ABORTED", "begin again"), order_by="")
        with self.assertRaisesRegex(trellis.NotFoundError, '"s t" was deleted while'):
            read(page("01", 7, "t"), fake.problem(404, "NOT_FOUND", "not found"))
        with self.assertRaisesRegex(trellis.NotFoundError, "^not found$"):
            read(fake.problem(404, "NOT_FOUND", "not found"))

    def test_names_are_quoted(self) -> None:
        server = fake.serve(self, fake.ok(STUDY))
        self.client(server).study("a/b?c")
        self.assertEqual(server.requests[0][0], "GET /api/v1/studies/a%2Fb%3Fc")


class Streams(Case):
    def test_goes_on_where_it_was(self) -> None:
        first = 'retry: 1000\n\nid: 5\ndata: {"index":"5","study":{"name":"s"}}\n\n:\n\nid: 6\ndata: {"index"'
        second = 'id: 6\ndata: {"index":"6"}\n\nevent: problem\ndata: {"code":"UNAVAILABLE","detail":"stopping"}\n\n'
        server = fake.serve(
            self, fake.events(first), fake.drop, fake.events(second), fake.events("event: end\ndata: {}\n\n")
        )
        self.assertEqual([update.index for update in self.client(server).watch("s")], [5, 6])
        resumed = [headers.get("Last-Event-ID") for _, headers, _ in server.requests]
        self.assertEqual(resumed, [None, "5", "5", "6"])

    def test_all_runs(self) -> None:
        text = 'id: 5\ndata: {"index":"5","partial":true}\n\nid: 6\ndata: {"index":"6"}\n\nevent: end\ndata: {}\n\n'
        server = fake.serve(self, fake.events(text))
        client = self.client(server)
        self.assertEqual([update.partial for update in client.watch("s")], [True, False])
        list(client.watch("s", since_index=5, all_runs=True))
        self.assertEqual(
            [line for line, _, _ in server.requests],
            ["GET /api/v1/studies/s:watch", "GET /api/v1/studies/s:watch?since_index=5&all_runs=true"],
        )

    def test_a_problem_ends_it(self) -> None:
        gone = 'event: problem\ndata: {"code":"NOT_FOUND","detail":"study s was deleted"}\n\n'
        server = fake.serve(self, fake.events(gone))
        with self.assertRaisesRegex(trellis.NotFoundError, "was deleted"):
            list(self.client(server).watch("s"))

    def test_output_goes_on(self) -> None:
        def run(state: str) -> list[fake.Answer]:
            run = {"id": "r", "state": f"RUN_STATE_{state}", "attempt": "1"}
            trial = fake.ok({"trial": {"run": "r"}})
            return [trial, fake.ok({"run": run, "config": {"program": {}}})]

        def output(*parts: tuple[int, int, bytes], ends: str = "") -> fake.Answer:
            text = ""
            for attempt, omitted, data in parts:
                event = {"attempt": attempt, "omitted": omitted, "data": base64.b64encode(data).decode()}
                text += f"data: {json.dumps(event)}\n\n"
            end = f'event: problem\ndata: {{"code":"{ends}","detail":"gone"}}\n\n' if ends else "event: end\ndata: {}\n\n"
            return fake.events(text + end)

        whole = output((1, 0, "größer\nzwei\n".encode()), (1, 3, b"drei"))
        server = fake.serve(
            self,
            *run("LEASED"),
            output((1, 0, "grö".encode()[:3]), ends="NOT_FOUND"),
            *run("LEASED"),
            output(ends="NOT_FOUND"),
            *run("LEASED"),
            output((1, 0, "größer\nz".encode()), ends="NOT_FOUND"),
            *run("LEASED"),
            whole,
            *run("LEASED"),
            whole,
            *run("SUCCEEDED"),
            output((2, 0, b"vier")),
        )
        with mock.patch("trellis._actions.NEXT_ATTEMPT", 0.01):
            lines = list(self.client(server).logs("s", 0, follow=True))
        self.assertEqual(lines, ["größer", "zwei", "[3 bytes left out]", "drei", "vier"])
        # One that is cut off and will not go on does not look whole.
        server = fake.serve(self, *run("SUCCEEDED"), output((1, 0, b"one\ntw"), ends="NOT_FOUND"))
        with self.assertRaises(trellis.NotFoundError):
            list(self.client(server).logs("s", 0, follow=True))
        server = fake.serve(self, *run("SUCCEEDED"), output(ends="NOT_FOUND"))
        self.assertEqual(list(self.client(server).logs("s", 0, follow=True)), [])

    def test_waits_no_longer_than_told(self) -> None:
        done = threading.Event()
        self.addCleanup(done.set)
        server = fake.serve(self, fake.ok(STUDY), fake.events('id: 1\ndata: {"index":"1"}\n\n', then=done.wait))
        with self.assertRaisesRegex(TimeoutError, "study s has not ended within 0.2 seconds"):
            self.client(server).wait("s", timeout=0.2)

    def test_pieces_of_a_character(self) -> None:
        data = 'data: {"error": "größer"}\n\nevent: end\ndata: {}\n\n'.encode()
        split = [data[at : at + 1] for at in range(len(data))]
        self.assertEqual([event.name for event in _transport.parse_events(iter(split))], ["", "end"])

    def test_one_that_nobody_reads_is_forgotten(self) -> None:
        server = fake.serve(self, fake.events('id: 1\ndata: {"index":"1"}\n\n'))
        client = self.client(server)
        self.assertEqual(next(client.watch("s")).index, 1)
        gc.collect()
        self.assertEqual(client._transport._ongoing, set())

    def test_a_file_that_breaks_off_is_fetched_again(self) -> None:
        def short(handler: fake.Handler) -> None:
            handler.send(200, b"all of it", "application/octet-stream", Connection="close")
            handler.close_connection = True

        def half(handler: fake.Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "9")
            handler.end_headers()
            handler.wfile.write(b"all")
            handler.close_connection = True

        server = fake.serve(self, half, short)
        request = _transport.Request("GET", "/artifacts/1", repeatable=True)
        read = self.client(server)._transport.fetch(request, lambda answer: b"".join(answer.pieces()))
        self.assertEqual(read, b"all of it")

    def test_another_thread_ends_it(self) -> None:
        hold = threading.Event()
        self.addCleanup(hold.set)
        server = fake.serve(self, fake.events('id: 1\ndata: {"index":"1"}\n\n', then=hold.wait))
        updates = self.client(server).watch("s")
        self.assertEqual(next(updates).index, 1)
        threading.Timer(0.1, updates.close).start()
        self.assertEqual(list(updates), [])

    def test_closing_the_client_ends_it(self) -> None:
        hold = threading.Event()
        self.addCleanup(hold.set)
        server = fake.serve(self, fake.events('id: 1\ndata: {"index":"1"}\n\n', then=hold.wait))
        client = self.client(server)
        updates = client.watch("s")
        next(updates)
        threading.Timer(0.1, client.close).start()
        self.assertEqual(list(updates), [])
        with self.assertRaisesRegex(trellis.Error, "the client is closed"):
            client.study("s")


class Asyncio(Case):
    def test_calls_and_streams(self) -> None:
        stream = fake.events('id: 1\ndata: {"index":"1"}\n\nevent: end\ndata: {}\n\n')
        server = fake.serve(self, fake.ok(STUDY), fake.ok(STUDY), stream)

        async def main() -> None:
            async with trellis.AsyncClient(server.address) as client:
                states = await asyncio.gather(client.study("s"), client.study("s"))
                self.assertEqual([study.state for study in states], ["running"] * 2)
                self.assertEqual([update.index async for update in client.watch("s")], [1])

        asyncio.run(main())

    def test_a_task_that_is_canceled_ends_its_call(self) -> None:
        hold = threading.Event()
        self.addCleanup(hold.set)
        server = fake.serve(self, fake.dropping(hold))

        async def main() -> None:
            async with trellis.AsyncClient(server.address) as client:
                for wait in (client.study("s"), client.watch("s").__anext__()):
                    with self.assertRaises(asyncio.TimeoutError):
                        await asyncio.wait_for(wait, 0.1)
                until = time.monotonic() + 20
                while any(thread.name == "trellis-client" for thread in threading.enumerate()):
                    self.assertLess(time.monotonic(), until, "a thread is left")
                    await asyncio.sleep(0.01)

        asyncio.run(main())


class Addresses(Case):
    def locate(self, address: str, **given: object) -> str:
        every = dict.fromkeys(("token", "token_file", "authority", "certificate", "key", "insecure"))
        credentials = Credentials(os.environ, **{**every, **given})  # type: ignore[arg-type]
        return str(credentials.locate(address))

    def test_encryption_is_for_other_machines(self) -> None:
        for address, want in (
            ("localhost:8080", "http://localhost:8080"),
            (":8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("host:8080", "https://host:8080"),
            ("http://host:8080", "http://host:8080"),
            ("https://host/trellis/", "https://host:443/trellis"),
        ):
            self.assertEqual(self.locate(address), want)
        self.assertEqual(self.locate("host:8080", insecure=True), "http://host:8080")
        os.environ["TRELLIS_INSECURE"] = "true"
        self.assertEqual(self.locate("host:8080"), "http://host:8080")

    def test_insecure_goes_before_variables(self) -> None:
        path = self.token_file("trellis_1")
        os.environ["TRELLIS_AUTHORITY"] = os.environ["TRELLIS_CERTIFICATE"] = path
        os.environ["TRELLIS_TOKEN_FILE"] = path
        self.assertEqual(self.locate("host:8080"), "https://host:8080")
        self.assertEqual(self.locate("host:8080", insecure=True), "http://host:8080")
        self.assertEqual(self.locate("host:8080", insecure=True, authority=path), "https://host:8080")
        with self.assertRaisesRegex(trellis.Error, "is not encrypted, but TRELLIS_AUTHORITY says that it is"):
            self.locate("http://host:8080")

    def test_a_token_is_not_sent_in_the_clear(self) -> None:
        with self.assertRaisesRegex(trellis.Error, "not sent to http://host:8080 without encryption"):
            self.locate("http://host:8080", token="trellis_1")
        self.assertEqual(self.locate("http://localhost:8080", token="trellis_1"), "http://localhost:8080")

    def test_wrong_addresses(self) -> None:
        for address in ("", "host", "ftp://host:1", "host:99999", "http://"):
            with self.assertRaisesRegex(trellis.Error, "address"):
                trellis.Client(address)

    def test_no_address(self) -> None:
        os.environ.pop("TRELLIS_HTTP", None)
        for kind in (trellis.Client, trellis.AsyncClient):
            with self.assertRaisesRegex(trellis.Error, rf"no address: call {kind.__name__}\(address\), or set TRELLIS_HTTP"):
                kind()

    def test_the_token_is_read_for_each_call(self) -> None:
        server = fake.serve(self, fake.ok(STUDY))
        path = self.token_file("trellis_first\n")
        os.environ["TRELLIS_TOKEN_FILE"] = path
        client = self.client(server)
        client.study("s")
        with open(path, "w") as file:
            file.write("trellis_second")
        client.study("s")
        sent = [headers["Authorization"] for _, headers, _ in server.requests]
        self.assertEqual(sent, ["Bearer trellis_first", "Bearer trellis_second"])
        os.environ["TRELLIS_TOKEN"] = "trellis_third"
        self.client(server).study("s")
        self.assertEqual(server.requests[-1][1]["Authorization"], "Bearer trellis_third")
        with trellis.Client(server.address, token="trellis_given") as given:
            given.study("s")
        self.assertEqual(server.requests[-1][1]["Authorization"], "Bearer trellis_given")
        with open(path, "w") as file:
            file.write("two lines\n")
        with self.assertRaisesRegex(trellis.Error, "is no token"):
            trellis.Client(server.address, token_file=path)

    def token_file(self, text: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "token")
        with open(path, "w") as file:
            file.write(text)
        return path
