"""The smallest program for a sandbox, on the ordinary library: the output is the input, or what a tool makes of it."""

import anyio
from mcp import ClientSession
from mcp.server.stdio import stdio_server
from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest


async def call(session, name, arguments, execution=None):
    """Calls a tool of the host, for an execution if one is named."""
    params = {"name": name, "arguments": arguments}
    if execution is not None:
        params["_meta"] = {"nexus/execution": execution}
    request = ClientRequest(CallToolRequest(method="tools/call", params=CallToolRequestParams.model_validate(params)))
    result = await session.send_request(request, CallToolResult)
    text = result.content[0].text if result.content else ""
    if result.isError:
        raise RuntimeError(text)
    return result.structuredContent


async def main():
    # What the library calls a server's streams are simply this program's own.
    async with stdio_server() as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        while True:
            work = await call(session, "core.work.next", {})
            if not work:
                continue
            execution, told = work["execution"], work["definition"]
            try:
                output = work["input"]
                if "tool" in told:
                    output = await call(session, told["tool"], work["input"], execution)
                brought = {"output": output}
            except RuntimeError as error:
                brought = {"error": str(error)}
            await call(session, "core.work.finish", {"execution": execution, **brought})


anyio.run(main)
