"""The README's programs, as they stand there."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from pathlib import Path

import haulout

README = Path(__file__).parents[2] / "README.md"


def programs() -> list[str]:
    """The README's Python, block by block."""
    return [part.partition("```")[0] for part in README.read_text().split("```python\n")[1:]]


async def test_the_integration_test_has_its_network_and_its_program_stores_and_reads(tmp_path: Path) -> None:
    program, scenario = programs()
    told: list[str] = []

    class Visited(haulout.LocalNetwork):
        """The scenario's network, on which the README's other program runs when the handover is done."""

        async def handed_over(self, progress: object = None) -> None:
            await super().handed_over()
            text = (
                program.replace("http://127.0.0.1:8545", self.chain.rpc_url)
                .replace("deployment.json", str(self.manifest))
                .replace("account.key", str(self.operator_key))
            )
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", text),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, errors = await process.communicate()
            assert (process.returncode, errors) == (0, b""), errors.decode()
            told.extend(output.decode().split())

    class Face:
        LocalNetwork = Visited
        DeploymentParameters = haulout.DeploymentParameters

    names: dict[str, object] = {"haulout": Face}
    exec(f"async def scenario(folder):\n{textwrap.indent(scenario, '    ')}", names)
    run = names["scenario"]
    assert callable(run)
    await run(tmp_path)
    assert [haulout.BlobId(text) for text in told] == [
        haulout.RedStuff(10).blob_id(data) for data in (b"hauled out", b"first", b"second")
    ]
