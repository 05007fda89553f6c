"""Uses an application as clients of the Model Context Protocol do, and prints what they understood as JSON.

    mcp_clients.py sdk-http  URL KEY
    mcp_clients.py sdk-stdio NEXUS APP URL KEY
    mcp_clients.py fastmcp   URL KEY
"""

import asyncio
import json
import sys

import httpx
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

TEXT = {"text": "21 g"}


async def sdk(streams):
    async with streams as (read, write, *_), ClientSession(read, write) as session:
        begun = await session.initialize()
        tools = await session.list_tools()
        called = await session.call_tool("weigh", TEXT)
        wrong = await session.call_tool("weigh", {"text": 1})
        prompts = await session.list_prompts()
        prompt = await session.get_prompt("weigh", TEXT)
        resources = await session.list_resources()
        schema = await session.read_resource(resources.resources[0].uri)
        try:
            await session.call_tool("nothing", {})
            unknown = None
        except Exception as error:
            unknown = type(error).__name__
        return {
            "server": begun.serverInfo.name,
            "revision": begun.protocolVersion,
            "tools": [tool.name for tool in tools.tools],
            "called": called.structuredContent,
            "wrong": wrong.isError,
            "prompts": [prompt.name for prompt in prompts.prompts],
            "prompt": [message.content.text for message in prompt.messages],
            "schema": json.loads(schema.contents[0].text)["type"],
            "unknown": unknown,
        }


async def sdk_http(url, key):
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        return await sdk(streamable_http_client(url, http_client=http))


async def sdk_stdio(nexus, app, url, key):
    arguments = ["mcp", "serve", app, "--url", url]
    return await sdk(stdio_client(StdioServerParameters(command=nexus, args=arguments, env={"NEXUS_KEY": key})))


async def fastmcp(url, key):
    async with Client(StreamableHttpTransport(url, auth=key)) as client:
        called = await client.call_tool("weigh", TEXT)
        tools = await client.list_tools()
        return {"tools": [tool.name for tool in tools], "called": called.structured_content}


WAYS = {"sdk-http": sdk_http, "sdk-stdio": sdk_stdio, "fastmcp": fastmcp}
print(json.dumps(asyncio.run(WAYS[sys.argv[1]](*sys.argv[2:]))))
