"""Calls one tool of an application as a client of the Model Context Protocol, and prints what it said as JSON.

    call.py URL KEY TOOL ARGUMENTS
"""

import asyncio
import json
import sys

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url, key, tool, arguments):
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=120) as http:
        async with streamable_http_client(url, http_client=http) as (read, write, *_), ClientSession(read, write) as session:
            await session.initialize()
            result = await session.call_tool(tool, json.loads(arguments))
            text = "".join(block.text for block in result.content if block.type == "text")
            print(json.dumps({"error": bool(result.isError), "text": text}))


asyncio.run(main(*sys.argv[1:]))
