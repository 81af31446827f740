#!/usr/bin/env python3
"""Checks that the official Ollama package for Python works with `kinglet serve`.

    tests/serve/ollama_client.py MODEL [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. The package is
installed into target/serve/ollama_client. Exit code 1: something is not as the package promises.
"""

import json

from served import KEY, arguments, prepare, server

PACKAGE = "ollama==0.6.3"


def check_lists(client) -> str:
    """Checks what is told of the model; its name."""
    model = client.list().models[0]
    assert model.model.endswith(":latest") and model.size > 0 and len(model.digest) == 64
    assert client.ps().models[0].model == model.model
    shown = client.show(model.model)
    assert shown.details.family == "llama" and "completion" in shown.capabilities
    assert shown.modelinfo["llama.context_length"] > 0
    return model.model


def check_chats(client, model: str) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a kinglet?"},
    ]
    options = {"num_predict": 24, "seed": 5, "temperature": 0.5, "num_ctx": 8192}
    ask = {"model": model, "messages": messages, "options": options, "keep_alive": "5m"}
    whole = client.chat(**ask)
    assert whole.done and whole.done_reason in ("stop", "length") and whole.eval_count > 0
    assert whole.total_duration >= whole.eval_duration > 0
    parts = list(client.chat(**ask, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count
    left = client.chat(**{**ask, "options": {"num_predict": 400}}, stream=True)
    next(left)
    left.close()
    assert client.chat(model=model).done_reason == "load"


def check_shapes(client, model: str) -> None:
    from pydantic import BaseModel, ConfigDict

    class Answer(BaseModel):
        model_config = ConfigDict(extra="forbid")
        is_bird: bool

    messages = [{"role": "user", "content": "Is a kinglet a bird?"}]
    reply = client.chat(model=model, messages=messages, format=Answer.model_json_schema())
    Answer.model_validate_json(reply.message.content)
    reply = client.chat(
        model=model, messages=messages, format="json", options={"num_predict": 400, "seed": 1}
    )
    if reply.done_reason == "stop":
        assert isinstance(json.loads(reply.message.content), dict)
    text = client.generate(model=model, prompt="A bird?", format=Answer.model_json_schema())
    Answer.model_validate_json(text.response)


def check_tools(client, model: str) -> None:
    import ollama

    def any_weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: A city.
        """
        return f"rain in {city}"

    messages = [{"role": "user", "content": "What is the weather in Rome?"}]
    properties = {"city": {"type": "string", "enum": ["Rome", "Paris"]}}
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    named = {"name": "weather", "description": "Tells the weather.", "parameters": parameters}
    tools = [{"type": "function", "function": named}]
    ask = {"model": model, "messages": messages}
    options = {"num_predict": 8}
    client.chat(**ask, tools=[*tools, any_weather], options=options)
    # A random model does not call by itself, and the package knows no `tool_choice`: this asks
    # without it, and has it read the answers.
    choice = {"type": "function", "function": {"name": "weather"}}
    must = {**ask, "tools": tools, "tool_choice": choice, "options": {"seed": 1}}
    whole = client._client.post("/api/chat", json={**must, "stream": False})
    reply = ollama.ChatResponse(**whole.json())
    calls = reply.message.tool_calls
    assert calls[0].function.name == "weather"
    assert calls[0].function.arguments["city"] in ("Rome", "Paris")
    lines = client._client.post("/api/chat", json=must).text.splitlines()
    parts = [ollama.ChatResponse(**json.loads(line)) for line in lines]
    streamed = [call for part in parts for call in part.message.tool_calls or []]
    assert [call.function for call in streamed] == [call.function for call in calls]
    results = [{"role": "tool", "tool_name": "weather", "content": "rain"} for _ in calls]
    ask["messages"] = [*messages, reply.message, *results]
    client.chat(**ask, tools=tools, options=options)


def check_texts(client, model: str) -> None:
    options = {"num_predict": 16, "seed": 5}
    whole = client.generate(model=model, prompt="one two", raw=True, options=options)
    parts = client.generate(model=model, prompt="one two", raw=True, options=options, stream=True)
    assert "".join(part.response for part in parts) == whole.response
    client.generate(model=model, prompt="one two", system="Be brief.", options=options)
    both = client.embed(model=model, input=["a small bird", "a bird"])
    assert len(both.embeddings) == 2 and both.prompt_eval_count > 2
    one = client.embed(model=model, input="a small bird").embeddings[0]
    assert one == both.embeddings[0] and abs(sum(x * x for x in one) - 1) < 1e-4
    assert client.embeddings(model=model, prompt="a small bird").embedding == one


def check_failures(client, model: str, address: str) -> None:
    import ollama

    def fails(status: int, named: str, call) -> None:
        try:
            call()
        except ollama.ResponseError as error:
            assert error.status_code == status and named in error.error, error
        else:
            raise AssertionError(f"{named} is not refused")

    other = "llama3.2"
    fails(404, f"model '{other}' not found", lambda: client.chat(model=other))
    fails(404, f"model '{other}' not found", lambda: client.show(other))
    fails(404, f"model '{other}' not found", lambda: list(client.chat(model=other, stream=True)))
    messages = [{"role": "user", "content": "a", "images": [b"a"]}]
    fails(400, "images", lambda: client.chat(model=model, messages=messages))
    wrong = {"temperature": 9}
    fails(400, "temperature", lambda: client.generate(model=model, prompt="a", options=wrong))
    stranger = ollama.Client(host=address)
    fails(401, "key", stranger.list)
    fails(404, "path", lambda: client.pull("llama3.2"))


def main() -> None:
    args = arguments(__doc__).parse_args()
    prepare("ollama_client", [PACKAGE])
    import ollama

    with server(args.kinglet, args.model) as address:
        client = ollama.Client(host=address, headers={"Authorization": f"Bearer {KEY}"})
        model = check_lists(client)
        check_chats(client, model)
        check_shapes(client, model)
        check_tools(client, model)
        check_texts(client, model)
        check_failures(client, model, address)
    print(f"{PACKAGE.replace('==', ' ')}: all calls did what they should")


if __name__ == "__main__":
    main()
