"""The contract-renewal story through `remit agent --stdio`, by the official Python SDK as it comes from PyPI.

Arguments: `play` or `revoked`, the executable, the envelope, its key, and edges. Played in both eras of MCP.
"""

import asyncio
import sys

from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

WHAT, REMIT, ENVELOPE, KEY, *EDGES = sys.argv[1:]
CONTRACT = {"customer_id": "cust_acme_1042", "contract_id": "contract_7781"}
CUSTOMER = {"customer_id": "cust_acme_1042"}
# What is outside the envelope, and what the agent is told about it.
REFUSED = [
    ("contracts.read", {"customer_id": "cust_globex_2001", "contract_id": "contract_9001"}, "out_of_scope", "contract"),
    ("billing.update", {**CUSTOMER, "plan": "free"}, "out_of_scope", None),
    ("contracts.delete", CONTRACT, "out_of_scope", None),
    ("contracts.export", {}, "out_of_scope", None),
    ("contracts.read", {**CONTRACT, "limit": 1000}, "unmapped_argument", None),
    ("tickets.create", {**CUSTOMER, "title": "Now!", "body": "b", "priority": "urgent"}, "forbidden", None),
]


async def refused(client, tool, arguments):
    try:
        result = await client.call_tool(tool, arguments)
    except MCPError as error:
        assert error.error.code == -32001, error.error
        assert error.error.data["decision_id"], error.error
        return error.error.data
    raise AssertionError(f"{tool} {arguments} was permitted: {result}")


def sidecar():
    edges = [word for edge in EDGES for word in ("--edge", edge)]
    return StdioServerParameters(
        command=REMIT, args=["agent", "--envelope", ENVELOPE, "--key", KEY, *edges, "--stdio"]
    )


async def story(mode, revision):
    async with Client(sidecar(), mode=mode) as client:
        assert client.protocol_version == revision, client.protocol_version
        told = []

        async def progress(done, total, message):
            told.append((done, total, message))

        result = await client.call_tool("contracts.read", CONTRACT, progress_callback=progress)
        assert len(result.structured_content["contracts"]) == 25, result
        # Numbers as the tool counts them; words of a tool stay at the edge.
        assert told and told == sorted(told) and told[-1][0] == told[-1][1], told
        assert all(message is None for _, _, message in told), told

        tools = await client.list_tools()
        assert [tool.name for tool in tools.tools] == ["contracts.read", "crm.read", "tickets.create"], tools

        rows = (await client.call_tool("contracts.read", CONTRACT)).structured_content["contracts"]
        assert len(rows) == 25, len(rows)
        assert all("terms" in row and "billing" not in row for row in rows), rows
        notes = (await client.call_tool("crm.read", CUSTOMER)).structured_content["notes"]
        assert notes and all("author_email" not in note for note in notes), notes
        # It cannot be taken back, so the edge asks for more proof, and the sidecar gives it.
        wanted = {**CUSTOMER, "title": "Renewal of 7781 at risk", "body": "Usage fell by a third."}
        ticket = (await client.call_tool("tickets.create", wanted)).structured_content["ticket"]
        assert ticket["ticket_id"], ticket

        for tool, arguments, reason, dimension in REFUSED:
            data = await refused(client, tool, arguments)
            assert data["reason"] == reason and data.get("dimension") == dimension, (tool, data)

        many = await asyncio.gather(*(client.call_tool("contracts.read", CONTRACT) for _ in range(20)))
        assert all(len(result.structured_content["contracts"]) == 25 for result in many)
    print(f"python: the story through --stdio, MCP {revision}: ok")


async def end():
    async with Client(sidecar(), mode="legacy") as client:
        assert (await refused(client, "contracts.read", CONTRACT))["reason"] == "revoked"
    print("python: after the session was revoked every call is refused: ok")


if WHAT == "play":
    asyncio.run(story("auto", "2026-07-28"))
    asyncio.run(story("legacy", "2025-11-25"))
else:
    asyncio.run(end())
