"""The client with a coordinator that uses TLS and asks who calls."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from unittest import mock

import trellis

ADDRESS = os.environ.get("TRELLIS_TEST_HTTPS", "")
# Certificates, and the files viewer.token and submitter.token.
FOLDER = Path(os.environ.get("TRELLIS_TEST_FOLDER", ""))
SPEC = {
    "name": "secured",
    "model": "synthetic",
    "grid": {"latent_dim": [4], "learning_rate": [0.01], "max_epochs": [2]},
}


@unittest.skipUnless(ADDRESS, "no coordinator: run go test ./command -run TestPythonClientWithTokens, which starts one")
class Secured(unittest.TestCase):
    def setUp(self) -> None:
        patched = mock.patch.dict(os.environ)
        patched.start()
        self.addCleanup(patched.stop)
        os.environ["TRELLIS_AUTHORITY"] = str(FOLDER / "authority.crt")

    def test_roles(self) -> None:
        with trellis.Client(ADDRESS, token_file=FOLDER / "submitter.token") as client:
            study = client.submit(SPEC)
            self.assertEqual((study.creator and study.creator.name), "sam")
        os.environ["TRELLIS_TOKEN_FILE"] = str(FOLDER / "viewer.token")
        with trellis.Client(ADDRESS) as client:
            self.assertEqual(client.study("secured").name, "secured")
            principal = client.whoami().principal
            self.assertEqual((principal and principal.role), "viewer")
            for change in (client.pause, client.cancel, client.delete, client.extend, client.retry, client.resume):
                with self.assertRaisesRegex(trellis.PermissionDeniedError, "viewer"):
                    change("secured")
            with self.assertRaises(trellis.PermissionDeniedError):
                client.submit({**SPEC, "name": "another"})
            with client.watch("secured") as updates:
                self.assertEqual(next(updates).study.state, "running")

    def test_a_certificate(self) -> None:
        with trellis.Client(ADDRESS, certificate=FOLDER / "client-admin.crt") as client:
            principal = client.whoami().principal
            self.assertEqual((principal and principal.role), "admin")

    def test_who_is_unknown(self) -> None:
        with (
            trellis.Client(ADDRESS, token="trellis_" + "0" * 40) as client,
            self.assertRaises(trellis.AuthenticationError),
        ):
            list(client.studies())
        with trellis.Client(ADDRESS) as client, self.assertRaises(trellis.AuthenticationError):
            list(client.studies())

    def test_another_authority(self) -> None:
        del os.environ["TRELLIS_AUTHORITY"]
        client = trellis.Client(ADDRESS, wait=0)
        with client, self.assertRaisesRegex(trellis.Error, "its certificate is not accepted: .* Is authority"):
            client.whoami()
        plain = trellis.Client(ADDRESS.replace("https", "http"), wait=0)
        with plain, self.assertRaises(trellis.Error):
            plain.whoami()
        with self.assertRaisesRegex(trellis.Error, "can't read the certificate of the authority"):
            trellis.Client(ADDRESS, authority=FOLDER / "not-there")
