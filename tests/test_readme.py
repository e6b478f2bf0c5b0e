"""The README's Python blocks run as they stand, but for fewer steps."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_table_of_results_is_the_one_that_the_program_wrote():
    place = "results/reproduction/cpu"
    table = (README.parent / place / "README.md").read_text(encoding="utf-8")
    assert table.replace("`](", f"`]({place}/") in README.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    # The one that asks a server runs in tests/export/test_client.py.
    blocks = [block for block in blocks if "export import client" not in block]
    assert len(blocks) == 2
    names = {}
    exec(blocks[0].replace("take(100)", "take(2)"), names)
    assert (tmp_path / "seatbelt.keras").exists()
    own = {}
    exec(blocks[1], own)
    assert own["score"].closed_share.shape == (4,)
