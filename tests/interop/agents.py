"""Many clients of one application at a time: each lists the tools and calls one of every server, round after round.

    agents.py URL KEY AGENTS ROUNDS TOOL…

Prints, as JSON, how many calls were answered, how many of them with the caller's own words, and the longest list of tools.
"""

import asyncio
import json
import sys

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def agent(url, key, number, rounds, tools):
    answered = own = 0
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=120) as http:
        async with streamable_http_client(url, http_client=http) as (read, write, *_), ClientSession(read, write) as session:
            await session.initialize()
            listed = {tool.name for tool in (await session.list_tools()).tools}
            for turn in range(rounds):
                words = {tool: f"agent {number}, turn {turn}, {tool}" for tool in tools}
                calls = [session.call_tool(tool, {"message": text}) for tool, text in words.items()]
                for text, result in zip(words.values(), await asyncio.gather(*calls)):
                    answered += 1
                    own += not result.isError and result.content[0].text == f"Echo: {text}"
    return answered, own, len(listed & set(tools))


async def main(url, key, agents, rounds, *tools):
    done = await asyncio.gather(*(agent(url, key, number, int(rounds), tools) for number in range(int(agents))))
    answered, own, listed = zip(*done)
    print(json.dumps({"answered": sum(answered), "own": sum(own), "listed": min(listed)}))


asyncio.run(main(*sys.argv[1:]))
