"""Asks an endpoint with a provider's own client and says as JSON what came of it.

usage: speak.py CLIENT URL KEY < question.json

The question: {"model": "...", "messages": [{"role": "...", "content": "..."}], "schema": {...}}.
The answer: {"whole": {...}, "streamed": {...}, "tool": {...}}, each with "text" or with "error", the class of the
exception, and "status".
"""

import json
import sys


def openai_ways(url, key, question):
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=30)
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": question["schema"]}}
    asked = {"model": question["model"], "messages": question["messages"], "response_format": form}

    def whole():
        answer = client.chat.completions.create(**asked)
        choice = answer.choices[0]
        return {
            "text": choice.message.content,
            "reason": choice.finish_reason,
            "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        }

    def streamed():
        pieces, reason, tokens = [], None, None
        for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            if chunk.usage:
                tokens = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                reason = choice.finish_reason or reason
        pieces = [piece for piece in pieces if piece]
        return {"text": "".join(pieces), "pieces": len(pieces), "reason": reason, "tokens": tokens}

    return {"whole": whole, "streamed": streamed}


def anthropic_ways(url, key, question):
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30)
    system = [{"type": "text", "text": m["content"]} for m in question["messages"] if m["role"] == "system"]
    said = [m for m in question["messages"] if m["role"] != "system"]
    asked = {"model": question["model"], "max_tokens": 1000, "system": system, "messages": said}
    form = {"format": {"type": "json_schema", "schema": question["schema"]}}
    tools = [{"name": "answer", "description": "Gives the answer.", "input_schema": question["schema"]}]

    def whole():
        answer = client.messages.create(**asked, output_config=form)
        return {
            "text": answer.content[0].text,
            "reason": answer.stop_reason,
            "tokens": [answer.usage.input_tokens, answer.usage.output_tokens],
        }

    def streamed():
        with client.messages.stream(**asked, output_config=form) as stream:
            pieces = list(stream.text_stream)
            answer = stream.get_final_message()
        return {
            "text": "".join(pieces),
            "pieces": len(pieces),
            "reason": answer.stop_reason,
            "tokens": [answer.usage.input_tokens, answer.usage.output_tokens],
        }

    def tool():
        with client.messages.stream(**asked, tools=tools, tool_choice={"type": "tool", "name": "answer"}) as stream:
            answer = stream.get_final_message()
        return {"text": json.dumps(answer.content[0].input), "reason": answer.stop_reason}

    return {"whole": whole, "streamed": streamed, "tool": tool}


def ollama_ways(url, key, question):
    import ollama

    client = ollama.Client(host=url, headers={"authorization": "Bearer " + key}, timeout=30)
    asked = {"model": question["model"], "messages": question["messages"], "format": question["schema"]}

    def whole():
        answer = client.chat(**asked)
        return {
            "text": answer.message.content,
            "reason": answer.done_reason,
            "tokens": [answer.prompt_eval_count, answer.eval_count],
        }

    def streamed():
        parts = list(client.chat(**asked, stream=True))
        pieces = [part.message.content for part in parts if part.message.content]
        last = parts[-1]
        tokens = [last.prompt_eval_count, last.eval_count]
        if not last.done:
            raise EOFError("the stream ended without its last line")
        return {"text": "".join(pieces), "pieces": len(pieces), "reason": last.done_reason, "tokens": tokens}

    def listed():
        return {"text": client.list().models[0].model}

    return {"whole": whole, "streamed": streamed, "listed": listed}


def outcome(way):
    try:
        return way()
    except Exception as error:
        status = getattr(error, "status_code", None)
        return {"error": type(error).__name__, "status": status, "message": str(error)}


def main():
    _, client, url, key = sys.argv
    ways = {"openai": openai_ways, "anthropic": anthropic_ways, "ollama": ollama_ways}[client]
    question = json.load(sys.stdin)
    print(json.dumps({name: outcome(way) for name, way in ways(url, key, question).items()}))


main()
