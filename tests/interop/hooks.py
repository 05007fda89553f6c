"""What Schemathesis cannot know of the server that it asks, and what it must be kept from."""

import functools
import json
import os
import urllib.request
from pathlib import Path

import schemathesis
from hypothesis import strategies

schemathesis.serializer.alias("application/wasm", "application/octet-stream")

APPS = Path(__file__).parents[2] / "apps"
# The key that the run itself uses, and the applications that it needs to its end.
KEY_ID = os.environ["NEXUS_KEY_ID"]
NEEDED = {"order-desk", "headline-desk", "pricing"}
CHANGES = {"put_app", "delete_app", "restore_app", "deactivate_app", "put_file", "delete_file", "put_plugin", "delete_plugin"}
# An application that is made, changed and removed.
SPARE = "spare"


def operation_id(case):
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """The key stays good, and the applications stay as they are."""
    path = case.path_parameters
    if path and path.get("id") == KEY_ID:
        path["id"] = "0" * len(KEY_ID)
    if operation_id(case) in CHANGES and path.get("app") in NEEDED:
        path["app"] = SPARE


@functools.cache
def files():
    """The files of an application that has no faults."""
    below = APPS / "headline-desk"
    named = {str(file.relative_to(below)): file.read_text() for file in below.rglob("*") if file.is_file()}
    return {**named, "app.yaml": named["app.yaml"].replace("headline-desk", SPARE)}


def shown(path):
    """What the server shows under a path."""
    headers = {"authorization": "Bearer " + os.environ["NEXUS_KEY"]}
    request = urllib.request.Request(os.environ["NEXUS_URL"] + path, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@functools.cache
def revision():
    """The revision of an application that does not change."""
    return shown("/v1/apps/order-desk")["revision"]


@functools.cache
def recorded():
    """Application, operation and input of every answer that is recorded."""
    lists = sorted((APPS / "recordings").glob("*/*.inputs.jsonl"))
    return [
        (file.parent.name, file.name.removesuffix(".inputs.jsonl"), json.loads(line))
        for file in lists
        for line in file.read_text().splitlines()
    ]


def improved(case, choice):
    """The case as somebody would send it who knows what is there."""
    path, named = case.path_parameters, operation_id(case)
    if named == "execute":
        path["app"], path["operation"], case.body = recorded()[choice % len(recorded())]
    if named in ("execute", "read_logs") and choice % 2:
        case.headers = {"accept": "text/event-stream"}
    if named == "read_logs":
        case.query = {"cursor": 0} if choice % 2 else {"limit": 10}
    if named == "get_execution" and (newest := shown("/v1/executions?limit=1")["executions"]):
        path["id"] = newest[0]["id"]
    if named == "create_app":
        case.body = {"name": SPARE, "files": files()}
    if named in ("put_app", "put_file", "delete_app", "delete_file", "restore_app"):
        path["app"] = SPARE
        case.headers = {"if-match": "*"}
    if named == "put_app":
        case.body = {"files": files(), "message": f"Change {choice}"}
    if named == "put_file":
        path["path"], case.body = "notes.md", f"Note {choice}".encode()
    if named in ("app_diff", "get_files", "get_file"):
        path["app"] = "order-desk"
        case.query = {"from" if named == "app_diff" else "revision": revision()}
    if named == "get_file":
        path["path"] = "app.yaml"
    return case


@schemathesis.hook
def flatmap_case(context, case):
    """Half of the cases are good ones: they come further than the checks of what is sent."""
    choices = strategies.none() | strategies.integers(min_value=0, max_value=999)
    return choices.map(lambda choice: case if choice is None else improved(case, choice))
