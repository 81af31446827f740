#!/usr/bin/env python3
"""Checks that LangChain's OpenAI client works with `kinglet serve`.

    tests/serve/chains.py MODEL [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. The package is
installed into target/serve/chains. Exit code 1: something is not as the package promises.
"""

import asyncio
import importlib.metadata
from typing import Literal

from served import KEY, arguments, prepare, server

PACKAGES = ["langchain-openai==1.7.4"]
QUESTION = [("system", "Be brief."), ("human", "What is a kinglet?")]


def check_chats(chat) -> None:
    whole = chat.invoke(QUESTION)
    usage = whole.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert whole.response_metadata["finish_reason"] in ("stop", "length")
    parts = list(chat.stream(QUESTION))
    assert len(parts) > 2 and "".join(part.content for part in parts) == whole.content
    told = [part.usage_metadata for part in parts if part.usage_metadata]
    assert [t["output_tokens"] for t in told] == [usage["output_tokens"]], told
    both = chat.batch([QUESTION, QUESTION])
    assert [message.content for message in both] == [whole.content] * 2
    likely = chat.bind(logprobs=True, top_logprobs=3).invoke(QUESTION)
    tokens = likely.response_metadata["logprobs"]["content"]
    assert tokens and all(len(token["top_logprobs"]) == 3 for token in tokens)
    asyncio.run(check_waiting(chat, whole.content))


async def check_waiting(chat, content: str) -> None:
    """The same without a thread that waits; goes away in the middle of a stream."""
    assert (await chat.ainvoke(QUESTION)).content == content
    async for _ in chat.astream(QUESTION):
        break


def check_shapes(chat) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from pydantic import BaseModel

    class Answer(BaseModel):
        """An answer."""

        is_bird: bool
        legs: Literal[2, 4]

    for method in ["json_schema", "function_calling"]:
        shaped = chat.with_structured_output(Answer, method=method)
        assert isinstance(shaped.invoke("Is a kinglet a bird?"), Answer), method

    @tool
    def weather(city: Literal["Paris", "Rome"]) -> str:
        """Tells the weather."""
        return f"rain in {city}"

    messages = [HumanMessage("How is the weather?")]
    able = chat.bind_tools([weather], tool_choice="weather")
    called = able.invoke(messages)
    assert [call["name"] for call in called.tool_calls] == ["weather"]
    streamed = None
    for part in able.stream(messages):
        streamed = part if streamed is None else streamed + part
    assert streamed.tool_calls[0]["args"] == called.tool_calls[0]["args"]
    result = weather.invoke(called.tool_calls[0])
    assert isinstance(result, ToolMessage) and result.content.startswith("rain in ")
    chat.bind_tools([weather]).invoke([*messages, called, result])


def check_failures(chat) -> None:
    import openai

    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    for wrong in [[], [("human", [image])]]:
        try:
            chat.invoke(wrong)
        except openai.BadRequestError as error:
            assert error.body["message"], error
        else:
            raise AssertionError(f"{wrong} is not refused")


def check_embeddings(reach: dict) -> None:
    from langchain_openai import OpenAIEmbeddings

    # Otherwise it sends tokens of OpenAI's vocabulary.
    embeddings = OpenAIEmbeddings(**reach, check_embedding_ctx_length=False)
    bird, other = embeddings.embed_documents(["a small bird", "a railway"])
    again = embeddings.embed_query("a small bird")
    assert all(abs(a - b) < 1e-6 for a, b in zip(bird, again, strict=True)) and bird != other


def main() -> None:
    args = arguments(__doc__).parse_args()
    prepare("chains", PACKAGES)
    from langchain_openai import ChatOpenAI, OpenAI

    with server(args.kinglet, args.model) as address:
        reach = {"base_url": f"{address}/v1", "api_key": KEY, "model": "any", "max_retries": 0}
        chat = ChatOpenAI(**reach, max_tokens=200, seed=5, temperature=0.7, stream_usage=True)
        check_chats(chat)
        check_shapes(chat)
        check_failures(chat)
        plain = OpenAI(**reach, max_tokens=8, temperature=0)
        text = plain.invoke("A kinglet is")
        assert text and "".join(plain.stream("A kinglet is")) == text
        check_embeddings(reach)
    version = importlib.metadata.version("langchain-openai")
    print(f"langchain-openai {version}: all calls did what they should")


if __name__ == "__main__":
    main()
