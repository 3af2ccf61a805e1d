"""Programs call the running page: the three named endpoints through gradio_client, and the same three as tools of the MCP server.
Also how long the page takes to be there."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

PROMPT = "a person smiles in a garden"


@pytest.fixture(scope="module")
def client(server):
    return Client(server.address, verbose=False)


def test_read_generate_and_compare_from_a_program(client, server, examples):
    """The README's call. A code that was read once serves instead of the clip."""
    from slotid.backbone.registry import backbone_spec
    from slotid.clip import read_clip
    from slotid.clip_write import read_settings

    report, code = client.predict(reference=handle_file(str(examples[0])), consent=True, api_name="/read")
    assert len(report["slots"]) == 8 and report["frames_with_face"] > 10 and {row["grade"] for row in report["meter"]} <= {"good", "weak"}
    spec = backbone_spec("tiny")
    short = {"steps": 2, "seconds": spec.frames_min / spec.fps, "seed": 4}
    film, told = client.predict(reference=handle_file(code), prompt=PROMPT, consent=True, **short, api_name="/generate")
    path = film["video"] if isinstance(film, dict) else film
    assert read_settings(path)["seed"] == told["seed"] == 4 and told["likeness"] is None
    assert len(read_clip(path).frames) == told["frames"] == spec.frames_min
    both = client.predict(reference=handle_file(code), prompt=PROMPT, consent=True, **short, api_name="/compare")
    wide = read_clip(both["video"] if isinstance(both, dict) else both).frames.shape
    assert wide[2] > 1.6 * wide[1], "two films side by side, captions below"
    assert server.tracebacks() == ""


def test_a_program_is_told_what_to_do(client, server, examples):
    with pytest.raises(AppError, match="consent"):
        client.predict(reference=handle_file(str(examples[0])), consent=False, api_name="/read")
    with pytest.raises(AppError, match="No reference"):
        client.predict(prompt=PROMPT, consent=True, reference=None, api_name="/generate")
    assert server.tracebacks() == ""


def test_only_what_programs_may_call_is_public(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/read", "/generate", "/compare"}


def test_the_same_as_tools_of_an_mcp_server(server, examples):
    """A client of the Model Context Protocol finds three tools with descriptions, and calls one with the clip in its message."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    clip = "data:video/mp4;base64," + base64.b64encode(examples[0].read_bytes()).decode()

    async def talk():
        async with streamablehttp_client(f"{server.address}/gradio_api/mcp/") as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            name = next(name for name in tools if name.endswith("read"))
            refused = await session.call_tool(name, {"reference": clip, "consent": False})
            return tools, refused, await session.call_tool(name, {"reference": clip, "consent": True})

    with ThreadPoolExecutor() as aside:  # the browser's driver keeps a loop running in this thread
        tools, refused, answer = aside.submit(asyncio.run, talk()).result()
    assert sorted(name.rpartition("_")[2] for name in tools) == ["compare", "generate", "read"]
    assert all("consent" in tool.inputSchema["properties"] and len(tool.description) > 40 for tool in tools.values())
    assert refused.isError and "consent" in refused.content[0].text
    assert not answer.isError and "smile" in answer.content[0].text, answer.content[0].text
    assert server.tracebacks() == ""


def test_the_page_is_there_soon(server, visit, spent):
    """Up within 15 s, the first view within 2 s on two cores. In CPU time of the server and all of the browser's processes, so that what
    runs beside the test does not count: twice the wall clock of two cores, and the half again for a shared cache."""
    visit().context.close()  # the browser's own start
    before = spent()
    visitor = visit()
    drawn = spent() - before
    assert visitor.page.locator("#examples img").count() and visitor.page.locator("#engine").inner_text()
    print(f"server up after {server.started_in:.1f} s, first view {drawn:.1f} s of CPU time")
    assert server.started_in < 15 and drawn < 6
