"""The small pipelines are written once for all tests of this folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """kind -> folder, each written when it is first asked for."""
    from wan_small import write_wan

    home, made = tmp_path_factory.mktemp("wan"), {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_wan(home / kind.replace(".", "_"), kind)
        return made[kind]

    return folder
