"""The Secrets that an operator makes by hand, as docs/operations.md tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from tests.manifests.tool import TREE

DOCUMENT = TREE / "docs" / "operations.md"
_CREATE = re.compile(r"\bcreate\s+([a-z][a-z0-9-]*)((?:\s+--from-(?:literal|file)=\S+)+)")
_KEY = re.compile(r"--from-(?:literal|file)=([A-Za-z0-9._-]+)=")


@cache
def documented_secrets() -> Mapping[str, frozenset[str]]:
    """Names and keys, of each line ``create NAME --from-literal=KEY=… …`` there."""
    return {
        found[1]: frozenset(_KEY.findall(found[2]))
        for found in _CREATE.finditer(DOCUMENT.read_text())
    }
