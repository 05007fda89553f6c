"""A server made with one of the libraries for Python, which does the same with each.

    python_server.py sdk     stdio|PORT    the official library, version 2
    python_server.py older   stdio|PORT    the official library, version 1
    python_server.py fastmcp stdio|PORT    FastMCP
"""

import sys
from typing import Annotated, Any

from pydantic import BaseModel, Field

LIBRARY, WAY = sys.argv[1:]

if LIBRARY == "sdk":
    from mcp.server.mcpserver import Context, MCPServer, Resolve, Elicit

    server: Any = MCPServer("python")
elif LIBRARY == "older":
    from mcp.server.fastmcp import Context, FastMCP

    server = FastMCP("python", **({} if WAY == "stdio" else {"port": int(WAY)}))
else:
    from fastmcp import Context, FastMCP

    server = FastMCP("python")


class Name(BaseModel):
    name: str


@server.tool()
def add(a: int, b: Annotated[int, Field(description="what is added")]) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("the sack has a hole")


@server.tool()
async def work(ctx: Context) -> str:
    """Tells how far it is."""
    for done in range(1, 4):
        await ctx.report_progress(done, 3)
    return "done"


if LIBRARY == "sdk":

    async def who() -> Elicit[Name]:
        return Elicit("Who?", Name)

    @server.tool()
    async def greet(who: Annotated[Name, Resolve(who)]) -> str:
        """Greets whoever says their name."""
        return f"hello {who.name}"

else:

    @server.tool()
    async def greet(ctx: Context) -> str:
        """Greets whoever says their name."""
        answer = await ctx.elicit("Who?", Name)
        return f"hello {answer.data.name}"


@server.tool()
async def grow(ctx: Context) -> str:
    """Adds a tool, and says so."""

    def grown() -> str:
        return "grown"

    if LIBRARY == "fastmcp":
        server.tool(grown)
        import mcp.types

        await ctx.send_notification(mcp.types.ToolListChangedNotification())
    else:
        server.add_tool(grown, name="grown", description="Is new.")
        if LIBRARY == "sdk" and ctx.protocol_version >= "2026-07-28":
            await ctx.notify_tools_changed()
        else:
            # Who has begun as before 2026 is told in the session; a machine that is busy lets the hub fall back to that.
            await ctx.session.send_tool_list_changed()
    return "grew"


@server.prompt()
def ask(topic: str) -> str:
    """Asks about something."""
    return f"What is {topic}?"


@server.resource("notes://today")
def today() -> str:
    """What was noted today."""
    return "a sack weighs 25 kg"


@server.resource("notes://{day}")
def note(day: str) -> str:
    """What was noted on a day."""
    return f"nothing on {day}"


if WAY == "stdio":
    server.run(transport="stdio", **({"show_banner": False} if LIBRARY == "fastmcp" else {}))
elif LIBRARY == "older":
    server.run(transport="streamable-http")
else:
    server.run(transport="streamable-http", host="127.0.0.1", port=int(WAY))
