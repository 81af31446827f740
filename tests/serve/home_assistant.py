#!/usr/bin/env python3
"""Checks that what Home Assistant sends works with `kinglet serve`.

    tests/serve/home_assistant.py MODEL [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. The calls are
those that Home Assistant's integrations `llama_cpp` (for servers of the OpenAI protocol),
`ollama` and `openai_conversation` (its requests of /v1/responses, which it sends to OpenAI alone)
make as of 2026-11, in their order, with the packages that they use: setup, a question behind a
call and its result, what the model calls then and the results, a second question. Functions are
described as Home Assistant describes its intents and scripts, with formats of its own. The
packages are installed into target/serve/home_assistant. Exit code 1: something is not as the
integrations expect.
"""

import asyncio
import importlib.metadata
import json

from served import KEY, arguments, prepare, server

PACKAGES = ["openai==3.57.0", "ollama==0.6.3"]
CONTEXT = 4096


def schema(required: list[str], **properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": required}


TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
# A script's field as its selector is written: an entity, several options, a template, a duration.
FIELDS = {
    "lamps": {"type": "array", "items": {"type": "string", "format": "entity_id"}},
    "days": {
        "type": "array", "uniqueItems": True, "items": {"type": "string", "enum": ["mon", "tue"]},
    },
    "note": {"type": "string", "format": "jinja2"},
    "language": {"type": "string", "format": "RFC 5646"},
    "at": {"type": "string", "format": "time"},
    "for": schema([], minutes={"type": "number"}, seconds={"type": "number"}),
    "color": {
        "type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3, "format": "RGB",
    },
}  # fmt: skip
PLACE = {"name": TEXT, "area": TEXT, "floor": TEXT, "domain": TEXTS}
LEVEL = {"type": "integer", "minimum": 0, "maximum": 100}
FUNCTIONS = {
    "HassTurnOn": ("Turns on a device", schema([], **PLACE)),
    "HassLightSet": ("Sets a light", schema([], **PLACE, brightness=LEVEL, color=TEXT)),
    "GetDateTime": ("Tells date and time.", schema([])),
    "evening": ("Prepares the evening. Aliases: ['night']", schema(["lamps"], **FIELDS)),
}
SYSTEM = """You are a voice assistant for Home Assistant.
Answer in plain text. When controlling devices, call a function.
An overview of the areas and the devices in this smart home:
- names: Kitchen lamp
  domain: light
  areas: Kitchen
"""
QUESTIONS = ["Turn on the lamp in the kitchen.", "Thank you. Is it on?"]
# Small models hardly call by themselves, so each conversation begins with a call that was made.
EARLIER = ("What time is it?", "GetDateTime", {"utc": True})
ITERATIONS = 10


def returned(name: str) -> str:
    """What Home Assistant sends back for a call."""
    assert name in FUNCTIONS, f"there is no function {name}"
    data = {"speech": {}, "success": [{"name": "Kitchen lamp"}]}
    return json.dumps({"data": data, "error": None})


class OpenAi:
    """The integration `llama_cpp`."""

    def __init__(self, address: str) -> None:
        import openai

        self.client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY)
        self.tools = [
            {"type": "function", "function": {"name": n, "parameters": p, "description": d}}
            for n, (d, p) in FUNCTIONS.items()
        ]

    async def set_up(self) -> str:
        page = await self.client.with_options(timeout=10.0).models.list()
        model = [model.id async for model in page][0]
        # It probes whether functions and streams work, with three tokens.
        parameters = {"type": "object", "properties": {}}
        function = {"name": "test_function", "description": "Test.", "parameters": parameters}
        ask = {
            "model": model, "max_tokens": 3,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "What is the capital of France?"},
            ],
            "tools": [{"type": "function", "function": function}],
        }  # fmt: skip
        await self.client.chat.completions.create(**ask, stream=False)
        ends = [
            chunk.choices[0].finish_reason
            async for chunk in await self.client.chat.completions.create(**ask, stream=True)
            if chunk.choices
        ]
        assert ends[-1] and not any(ends[:-1]), ends
        return model

    async def converse(self, model: str, streams: bool) -> int:
        """Both questions; how many calls the model made."""
        messages, calls = [{"role": "system", "content": SYSTEM}, *self.earlier()], 0
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            for _ in range(ITERATIONS):
                result = await self.client.chat.completions.create(
                    model=model, messages=messages, tools=self.tools, max_tokens=200, top_p=1.0,
                    temperature=0.7, user="01JXYZ", stream=streams,
                )  # fmt: skip
                said = await self.streamed(result) if streams else self.whole(result)
                messages.append(said)
                for call in said.get("tool_calls", []):
                    calls += 1
                    content = returned(call["function"]["name"])
                    messages.append(
                        {"role": "tool", "tool_call_id": call["id"], "content": content}
                    )
                if "tool_calls" not in said:
                    break
        return calls

    def earlier(self) -> list[dict]:
        question, name, arguments = EARLIER
        said = self.said(None, [("call_1", name, json.dumps(arguments))])
        result = {"role": "tool", "tool_call_id": "call_1", "content": returned(name)}
        return [{"role": "user", "content": question}, said, result]

    def whole(self, result) -> dict:
        message = result.choices[0].message
        called = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
        return self.said(message.content, called)

    async def streamed(self, result) -> dict:
        """Reads a stream as the integration does: of a chunk's calls it sees the first alone, and
        of the chunk that ends it nothing else."""
        content, called = "", {}
        async for chunk in result:
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            if choice.finish_reason:
                assert not choice.delta.content and not choice.delta.tool_calls
                await result.close()
                break
            if choice.delta.tool_calls:
                assert len(choice.delta.tool_calls) == 1
                call = choice.delta.tool_calls[0]
                id_, name, text = called.get(call.index, (call.id, call.function.name, ""))
                called[call.index] = (id_, name, text + (call.function.arguments or ""))
            content += choice.delta.content or ""
        return self.said(content, list(called.values()))

    def said(self, content: str | None, called: list[tuple[str, str, str]]) -> dict:
        message = {"role": "assistant", "content": content}
        if called:
            message["tool_calls"] = [
                {
                    "id": id_, "type": "function",
                    # They are read and written anew.
                    "function": {"name": name, "arguments": json.dumps(json.loads(arguments))},
                }
                for id_, name, arguments in called
            ]  # fmt: skip
        return message

    async def fill_in(self, model: str) -> None:
        """A task whose answer has a structure."""
        structure = schema(["count", "names"], count={"type": "number"}, names=TEXTS)
        told = {"name": "report", "strict": True, "schema": structure}
        result = await self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Count the lamps."}],
            response_format={"type": "json_schema", "json_schema": told}, max_tokens=3000,
        )  # fmt: skip
        if result.choices[0].finish_reason == "stop":
            assert set(json.loads(result.choices[0].message.content)) == {"count", "names"}


class Ollama:
    """The integration `ollama`."""

    def __init__(self, address: str) -> None:
        import ollama

        head = {"Authorization": f"Bearer {KEY}"}
        self.client, self.error = ollama.AsyncClient(address, headers=head), ollama.ResponseError
        self.tools = [
            {"type": "function", "function": {"name": n, "parameters": p, "description": d}}
            for n, (d, p) in FUNCTIONS.items()
        ]

    async def set_up(self) -> str:
        async with asyncio.timeout(5.0):
            listed = await self.client.list()
        try:
            # Its sensors ask for it every 30 s and do without.
            await self.client.ps()
        except self.error as error:
            assert error.status_code == 404, error
        return listed["models"][0]["model"]

    async def ask(self, model: str, messages: list, **fields) -> list:
        parts = await self.client.chat(
            model=model, messages=messages, stream=True, keep_alive=-1, options={"num_ctx": 8192},
            think=False, **fields,
        )  # fmt: skip
        replies = [part async for part in parts]
        assert replies[-1]["done"] and not any(part["done"] for part in replies[:-1])
        return replies

    async def converse(self, model: str) -> int:
        """Both questions; how many calls the model made."""
        question, name, arguments = EARLIER
        call = {"function": {"name": name, "arguments": arguments}}
        messages, count = [{"role": "system", "content": SYSTEM}], 0
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "content": returned(name)})
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            for _ in range(ITERATIONS):
                parts = [
                    part["message"]
                    for part in await self.ask(model, messages, tools=self.tools, format=None)
                ]
                content = "".join(part.get("content") or "" for part in parts)
                calls = [call for part in parts for call in part.get("tool_calls") or []]
                called = [{"function": dict(call["function"])} for call in calls] or None
                messages.append({"role": "assistant", "content": content, "tool_calls": called})
                for call in calls:
                    count += 1
                    content = returned(call["function"]["name"])
                    messages.append({"role": "tool", "content": content})
                if not calls:
                    break
        return count

    async def fill_in(self, model: str) -> None:
        """A task whose answer has a structure."""
        structure = schema(["count"], count={"type": "integer"})
        messages = [{"role": "user", "content": "Count the lamps."}]
        replies = await self.ask(model, messages, format=structure)
        if replies[-1]["done_reason"] == "stop":
            text = "".join(part["message"]["content"] for part in replies)
            assert isinstance(json.loads(text)["count"], int)


async def respond(address: str, model: str) -> int:
    """Both questions as `openai_conversation` asks them; how many calls the model made."""
    import openai

    client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY)
    tools = [
        {"type": "function", "name": n, "parameters": p, "description": d, "strict": False}
        for n, (d, p) in FUNCTIONS.items()
    ]
    question, name, arguments = EARLIER
    call = {"type": "function_call", "name": name, "call_id": "call_1"}
    given, count = [{"type": "message", "role": "developer", "content": SYSTEM}], 0
    given.append({"type": "message", "role": "user", "content": question})
    given.append({**call, "arguments": json.dumps(arguments)})
    output = {"type": "function_call_output", "call_id": "call_1"}
    given.append({**output, "output": returned(name)})
    for question in QUESTIONS:
        given.append({"type": "message", "role": "user", "content": question})
        for _ in range(ITERATIONS):
            stream = await client.responses.create(
                model=model, input=given, tools=tools, max_output_tokens=3000, top_p=1.0,
                temperature=1.0, user="01JXYZ", store=False, stream=True,
            )  # fmt: skip
            text, called, ends = "", [], []
            async for event in stream:
                if event.type == "response.output_text.delta":
                    text += event.delta
                elif event.type == "response.output_item.added":
                    if event.item.type == "function_call":
                        called.append((event.item, []))
                elif event.type == "response.function_call_arguments.delta":
                    called[-1][1].append(event.delta)
                elif event.type in ("response.completed", "response.incomplete"):
                    ends.append(event.response.usage.output_tokens)
            assert len(ends) == 1, ends
            if text:
                given.append({"type": "message", "role": "assistant", "content": text})
            for item, deltas in called:
                count += 1
                arguments = json.dumps(json.loads("".join(deltas)))
                call = {"type": "function_call", "name": item.name, "call_id": item.call_id}
                output = {"type": "function_call_output", "call_id": item.call_id}
                given.append({**call, "arguments": arguments})
                given.append({**output, "output": returned(item.name)})
            if not called:
                break
    return count


async def check(address: str) -> list[str]:
    """What was shown."""
    done, openai = [], OpenAi(address)
    model = await openai.set_up()
    calls = [await openai.converse(model, streams) for streams in (False, True)]
    await openai.fill_in(model)
    done.append(f"llama_cpp: {sum(calls)} calls")
    ollama = Ollama(address)
    name = await ollama.set_up()
    done.append(f"ollama: {await ollama.converse(name)} calls")
    await ollama.fill_in(name)
    done.append(f"openai_conversation: {await respond(address, model)} calls")
    return done


def main() -> None:
    args = arguments(__doc__).parse_args()
    prepare("home_assistant", PACKAGES)
    with server(args.kinglet, args.model, "--ctx", str(CONTEXT)) as address:
        done = asyncio.run(check(address))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("openai", "ollama")]
    print(f"Home Assistant with {' and '.join(versions)}:", *done, sep="\n  ")


if __name__ == "__main__":
    main()
