"""The pages' pure parts, by Node's own test runner (serve/web/test.mjs)."""

from __future__ import annotations

import subprocess

from fleet.local.web import WEB, ensure_pages, node_program


def test_the_pages_pure_parts() -> None:
    ensure_pages()
    done = subprocess.run(
        [node_program(), "test.mjs"], cwd=WEB, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# pass 0\n" not in done.stdout
