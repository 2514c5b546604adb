"""Every Python block of the README and of docs/ runs; those of one page share their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import graphflow as tf

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_blocks_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    names: dict = {}
    blocks = BLOCK.findall(page.read_text())
    for block in blocks:
        if "session=sess" in block:
            # The README goes on with the session of its first program.
            names["sess"] = tf.Session()
            names["sess"].run(tf.global_variables_initializer())
        exec(compile(block, str(page), "exec"), names)
    assert blocks
