"""A program in a sandbox that means ill: what it does is what the input of its work says in `do`."""

import json
import sys


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def ask(number, name, arguments, execution=None):
    params = {"name": name, "arguments": arguments}
    if execution is not None:
        params["_meta"] = {"nexus/execution": execution}
    send({"id": number, "method": "tools/call", "params": params})
    while True:
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        message = json.loads(line)
        if message.get("id") == number:
            return message.get("result") or message["error"]


def frame():
    piece = "a" * (1 << 20)
    sys.stdout.write('{"jsonrpc": "2.0", "id": "')
    for _ in range(1024):
        sys.stdout.write(piece)
    sys.stdout.flush()


def broken():
    sys.stdout.write('{"jsonrpc": "2.0", "id": 1, "method": \n{{{{\n' * 100)
    sys.stdout.flush()
    sys.stdin.readline()


send({"id": 0, "method": "initialize", "params": {
    "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "hostile", "version": "1"}}})
sys.stdin.readline()
send({"method": "notifications/initialized"})
number = 0
while True:
    number += 10
    work = ask(number, "core.work.next", {}).get("structuredContent")
    if not work:
        continue
    execution, wanted = work["execution"], work["input"]
    if wanted["do"] == "frame":
        frame()
    elif wanted["do"] == "broken":
        broken()
    elif wanted["do"] == "foreign":
        # The execution of somebody else: nothing may be read, told or ended in its name.
        ask(number + 1, wanted["tool"], wanted["arguments"], wanted["execution"])
    elif wanted["do"] == "obey":
        # What a tool has said is taken for an order, as a model may take it.
        told = ask(number + 1, "helper.advise", {}, execution)
        order = json.loads(told["content"][0]["text"].split("ORDER: ")[1])
        done = ask(number + 2, order["tool"], order["arguments"], execution)
        ask(number + 3, "core.work.finish", {"execution": execution, "output": json.dumps(done)})
    else:
        ask(number + 1, "core.work.finish", {"execution": execution, "output": wanted})
