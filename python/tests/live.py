"""A coordinator with a worker for the tests that need one: TestPythonClient in command starts it and names its address."""

from __future__ import annotations

import os
import re
import unittest
from pathlib import Path
from typing import Any

import worker

import trellis

ADDRESS = os.environ.get("TRELLIS_TEST_HTTP", "")
ROOT = worker.PACKAGE.parent


def spec(name: str, **more: Any) -> dict[str, Any]:
    """Return a study of 12 trials and 6 runs."""
    return {
        "name": name,
        "model": "synthetic",
        "grid": {
            "latent_dim": [4, 8],
            "learning_rate": {"log10": {"from": 1e-4, "to": 1e-2, "count": 3}},
            "max_epochs": [2, 3],
        },
        **more,
    }


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the examples of a page that talk to a coordinator, with its address."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [text.replace("http://localhost:8080", ADDRESS) for text in found if "http://localhost:8080" in text]


@unittest.skipUnless(ADDRESS, "no coordinator: run go test ./command -run TestPythonClient, which starts one")
class Case(worker.Case):
    def setUp(self) -> None:
        super().setUp()
        self.client = trellis.Client(ADDRESS)
        self.addCleanup(self.client.close)
        here = Path.cwd()
        os.chdir(self.root)
        self.addCleanup(os.chdir, here)
