#!/usr/bin/env python3
"""Checks that the official OpenAI package for Python works with `kinglet serve`.

    tests/serve/clients.py MODEL [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. The package is
installed into target/serve/clients. Exit code 1: something is not as the package promises.
"""

import json
from typing import Literal

from served import KEY, arguments, prepare, server

PACKAGE = "openai==3.57.0"


def check_chats(client, model: str) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is a kinglet?"}]},
    ]
    ask = {"model": model, "messages": messages, "max_tokens": 24, "seed": 5}
    whole = client.chat.completions.create(**ask)
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    stream = client.chat.completions.create(
        **ask, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    several = client.chat.completions.create(**ask, n=3, logprobs=True, top_logprobs=4)
    assert len(several.choices) == 3
    assert all(len(token.top_logprobs) == 4 for token in several.choices[2].logprobs.content)
    left = client.chat.completions.create(**{**ask, "max_tokens": 200}, stream=True)
    next(iter(left))
    left.close()


def check_shapes(client, model: str) -> None:
    from pydantic import BaseModel

    class Answer(BaseModel):
        is_bird: bool
        legs: Literal[2, 4]

    ask = {"model": model, "messages": [{"role": "user", "content": "Is a kinglet a bird?"}]}
    parsed = client.chat.completions.parse(**ask, response_format=Answer, seed=1)
    assert isinstance(parsed.choices[0].message.parsed, Answer)
    parameters = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    function = {"name": "weather", "description": "Tells the weather.", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    choice = {"type": "function", "function": {"name": "weather"}}
    called = client.chat.completions.create(**ask, tools=tools, tool_choice=choice, seed=1)
    assert called.choices[0].finish_reason == "tool_calls"
    message = called.choices[0].message
    call = message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls
    ]
    ask["messages"] += [message, *results]
    client.chat.completions.create(**ask, tools=tools, max_tokens=8)
    with client.chat.completions.stream(**ask, tools=tools, tool_choice=choice) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


def check_completions(client, model: str) -> None:
    tokens = [30, 40, 50, 60, 70]
    told = client.completions.create(
        model=model, prompt=[tokens, tokens[:3]], echo=True, logprobs=1, max_tokens=1, temperature=0
    )
    lengths = [len(choice.logprobs.token_logprobs) for choice in told.choices]
    assert lengths == [6, 4] and told.choices[0].logprobs.token_logprobs[0] is None
    # A prefix is as probable alone as in front of more.
    both = [choice.logprobs.token_logprobs[1:3] for choice in told.choices]
    assert all(abs(a - b) < 1e-5 for a, b in zip(*both))


def check_embeddings(client, model: str) -> None:
    # The package asks for base64 and decodes it, unless numbers are asked for.
    ask = {"model": model, "input": ["a small bird", "a bird that is small"]}
    coded = client.embeddings.create(**ask)
    told = client.embeddings.create(**ask, encoding_format="float")
    assert [entry.index for entry in coded.data] == [0, 1]
    for one, other in zip(coded.data, told.data):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))
        assert abs(sum(x * x for x in one.embedding) - 1) < 1e-4
    assert coded.usage.prompt_tokens == told.usage.total_tokens > 2
    tokens = client.embeddings.create(model=model, input=[[30, 40], [50]])
    assert len(tokens.data) == 2 and tokens.usage.prompt_tokens == 3


def check_responses(client, model: str) -> None:
    from pydantic import BaseModel

    class Answer(BaseModel):
        is_bird: bool

    ask = {"model": model, "input": "What is a kinglet?", "max_output_tokens": 24}
    ask["extra_body"] = {"seed": 5}
    whole = client.responses.create(**ask, instructions="Be brief.")
    assert whole.status in ("completed", "incomplete") and whole.store is False
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    with client.responses.stream(**ask, instructions="Be brief.") as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    # The package's own way to get the last one knows no responses that tokens have cut.
    final = events[-1].response
    assert events[-1].type == f"response.{whole.status}" == f"response.{final.status}"
    assert "".join(deltas) == final.output_text == whole.output_text
    parsed = client.responses.parse(model=model, input="Is it a bird?", text_format=Answer)
    assert isinstance(parsed.output_parsed, Answer)
    parameters = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tools = [{"type": "function", "name": "weather", "parameters": parameters, "strict": True}]
    question = [{"role": "user", "content": "Does it rain in Rome?"}]
    choice = {"type": "function", "name": "weather"}
    called = client.responses.create(model=model, input=question, tools=tools, tool_choice=choice)
    call = called.output[0]
    assert call.type == "function_call" and json.loads(call.arguments)["city"] in ("Paris", "Rome")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    items = [*question, *called.output, output]
    client.responses.create(model=model, input=items, tools=tools, max_output_tokens=8)
    with client.responses.stream(
        model=model, input=question, tools=tools, tool_choice=choice
    ) as stream:
        final = stream.get_final_response()
    assert final.output[0].name == "weather" and json.loads(final.output[0].arguments)


def check_failures(client, model: str, address: str) -> None:
    import openai

    def fails(kind, client=client, **fields) -> None:
        try:
            messages = [{"role": "user", "content": "a"}]
            client.chat.completions.create(**{"model": model, "messages": messages, **fields})
        except kind as error:
            assert error.body["message"], error
        else:
            raise AssertionError(f"{fields} is not refused")

    fails(openai.BadRequestError, temperature=9)
    fails(openai.BadRequestError, messages=[])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    fails(openai.BadRequestError, messages=[{"role": "user", "content": [image]}])
    try:
        client.responses.create(model=model, input="a", previous_response_id="resp_1")
    except openai.BadRequestError as error:
        assert "keeps no responses" in error.body["message"], error
    else:
        raise AssertionError("a response that was not kept is not refused")
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0)
    fails(openai.AuthenticationError, client=stranger)


def main() -> None:
    args = arguments(__doc__).parse_args()
    prepare("clients", [PACKAGE])
    import openai

    with server(args.kinglet, args.model) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)
        model = client.models.list().data[0].id
        check_chats(client, model)
        check_shapes(client, model)
        check_completions(client, model)
        check_embeddings(client, model)
        check_responses(client, model)
        check_failures(client, model, address)
    print(f"openai {openai.__version__}: all calls did what they should")


if __name__ == "__main__":
    main()
