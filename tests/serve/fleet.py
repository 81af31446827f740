#!/usr/bin/env python3
"""Checks HAProxy with `boards/deploy/haproxy.cfg` in front of three `kinglet serve`.

    tests/serve/fleet.py MODEL.kinglet [--kinglet target/release/kinglet] [--seconds 20]

It needs root on Linux, Debian's haproxy, and a model that writes words, such as SmolLM2-135M.
Proxy and boards get network namespaces of their own, which end with the script whatever happens.
As this machine has fewer processors than three boards, every board is one thread on one processor
and may use `--share` of its time: what is shown is how a fleet shares its work, not how fast
boards are. Shown are: conversations stay on their board, and boards share them; tokens per second
grow with boards; when a board is killed under load, what it was replying to fails, with a status
that clients try again, and nothing else; the official `openai` package gets all its replies
meanwhile; the board takes back its conversations when it has returned; without boards there is a
503. Exit code 1: something is not so.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from served import FOLDER, KEY, ROOT, arguments, prepare

PACKAGES = ["openai==3.57.0"]
CONFIGURATION = ROOT / "boards/deploy/haproxy.cfg"
BOARDS = {"board1": "10.77.0.11", "board2": "10.77.0.12", "board3": "10.77.0.13"}
PROXY, PROXY_PORT, NUMBERS_PORT = "127.0.0.1", 8080, 8405
# As many as the configuration lets run on a board.
SLOTS = 4
CLIENTS = 16
TOKENS = 24
INSTRUCTIONS = "You answer questions about birds and their lives in one sentence."
PERIOD_US = 20_000


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


def isolate() -> None:
    """Goes on where networks, mounts and processes are the script's own."""
    if os.environ.get("KINGLET_FLEET") == "inside":
        return
    os.environ["KINGLET_FLEET"] = "inside"
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    sys.exit(subprocess.run([*unshare, sys.executable, *sys.argv]).returncode)


def lay_network() -> None:
    """A switch in this namespace, and a namespace on it for every board."""
    Path("/run/netns").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "none", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "switch", "type", "bridge")
    run("ip", "address", "add", "10.77.0.1/24", "dev", "switch")
    run("ip", "link", "set", "switch", "up")
    for name, address in BOARDS.items():
        run("ip", "netns", "add", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", name, "master", "switch", "up")
        run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")


@contextmanager
def limited(name: str, share: float):
    """A control group whose processes get this share of a processor; the file that takes them."""
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"kinglet-fleet-{name}"
    group.mkdir(exist_ok=True)
    quota = int(share * PERIOD_US)
    try:
        if first.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


@dataclass
class Board:
    """A server in a namespace of its own."""

    name: str
    command: list[str]
    group: Path
    process: subprocess.Popen | None = None

    def start(self) -> None:
        # The shell joins the group, becomes `ip`, and that the server.
        script = f'echo $$ > {self.group}; exec ip netns exec {self.name} "$@"'
        command = ["sh", "-c", script, "sh", *self.command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), f"{self.name} does not start"

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(60)


@dataclass
class Outcome:
    """How a request went."""

    began: float
    ended: float
    streamed: bool
    status: int | None = None
    board: str | None = None
    text: str = ""
    tokens: int = 0
    cached: int = 0
    # Nothing, or why the reply is not whole.
    fault: str = ""


def connect() -> HTTPConnection:
    return HTTPConnection(PROXY, PROXY_PORT, timeout=120)


HEAD = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}


def ask(messages: list[dict], streams: bool = False, tokens: int = TOKENS) -> Outcome:
    body = {"messages": messages, "max_tokens": tokens, "temperature": 0, "stream": streams}
    if streams:
        body["stream_options"] = {"include_usage": True}
    outcome = Outcome(time.monotonic(), 0.0, streams)
    try:
        connection = connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), HEAD)
        response = connection.getresponse()
        outcome.status, outcome.board = response.status, response.headers["x-board"]
        read = response.read()
        if response.status != 200:
            outcome.fault = read.decode(errors="replace")
        elif streams:
            understand_events(outcome, read)
        else:
            document = json.loads(read)
            outcome.text = document["choices"][0]["message"]["content"]
            understand_usage(outcome, document["usage"])
    except (HTTPException, OSError) as fault:
        outcome.fault = repr(fault)
    outcome.ended = time.monotonic()
    return outcome


def understand_usage(outcome: Outcome, usage: dict) -> None:
    outcome.tokens = usage["completion_tokens"]
    outcome.cached = usage["prompt_tokens_details"]["cached_tokens"]


def understand_events(outcome: Outcome, read: bytes) -> None:
    lines = [line.removeprefix(b"data: ") for line in read.splitlines() if line]
    assert lines[-1] == b"[DONE]", lines[-1]
    for line in lines[:-1]:
        event = json.loads(line)
        for choice in event["choices"]:
            outcome.text += choice["delta"].get("content") or ""
        if event.get("usage"):
            understand_usage(outcome, event["usage"])


def conversation(number: int) -> list[dict]:
    """The beginning of one of many conversations with the same instructions."""
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": f"What does bird number {number} eat in winter?"},
    ]


@dataclass
class Load:
    """Clients that ask one question after the other."""

    questions: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    ends: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, number: int) -> None:
        while not self.ends.is_set():
            with self.lock:
                self.questions += 1
                question = self.questions
            outcome = ask(conversation(10_000 + question), streams=number % 2 == 0)
            with self.lock:
                self.outcomes.append(outcome)

    @contextmanager
    def running(self):
        clients = [threading.Thread(target=self.client, args=(i,)) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield self
        finally:
            self.ends.set()
            for client in clients:
                client.join()


def numbers() -> str:
    connection = HTTPConnection(PROXY, NUMBERS_PORT, timeout=10)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def await_boards(count: int) -> None:
    """Waits until the proxy knows that so many boards answer."""
    wanted = f'haproxy_backend_active_servers{{proxy="boards"}} {count}'
    for _ in range(300):
        try:
            if wanted in numbers():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the proxy does not see that {count} boards answer")


def check_growth(boards: list[Board], seconds: float) -> list[float]:
    """Starts one board after the other; tokens per second with each number of them."""
    speeds = []
    for count, board in enumerate(boards, 1):
        board.start()
        await_boards(count)
        load = Load()
        with load.running():
            # Until all are busy, and until the last replies end, it is not the whole load.
            time.sleep(seconds / 4)
            start = time.monotonic()
            time.sleep(seconds)
            end = time.monotonic()
        faults = [outcome.fault for outcome in load.outcomes if outcome.fault]
        assert not faults, faults
        shares = (
            o.tokens * max(0.0, min(o.ended, end) - max(o.began, start)) / (o.ended - o.began)
            for o in load.outcomes
        )
        speeds.append(sum(shares) / (end - start))
    assert speeds[2] > 2.4 * speeds[0] and speeds[1] > 1.6 * speeds[0], speeds
    return speeds


def check_stickiness() -> dict[int, str]:
    """Conversations of three questions; the board of each."""
    places, reused = {}, []
    for number in range(24):
        messages = conversation(number)
        for turn in range(3):
            outcome = ask(messages, streams=turn == 1, tokens=8)
            assert outcome.status == 200, outcome
            place = places.setdefault(number, outcome.board)
            assert outcome.board == place, f"conversation {number} goes on elsewhere"
            if turn > 0:
                reused.append(outcome.cached)
            messages.append({"role": "assistant", "content": outcome.text})
            messages.append({"role": "user", "content": "And in summer?"})
    counts = [list(places.values()).count(name) for name in BOARDS]
    assert min(counts) >= 3, f"boards share the conversations unevenly: {counts}"
    # At least what came before the first answer is known on its board.
    assert min(reused) > 20, reused
    return places


def check_other_forms() -> None:
    """Requests without messages are sticky too, and those without a beginning come to a board."""
    forms = [
        ("/v1/completions", {"prompt": "The wren is", "max_tokens": 4}),
        ("/v1/chat/completions", {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "max_tokens": 4,
        }),
        ("/tokenize", {"content": "a"}),
    ]  # fmt: skip
    for path, body in forms:
        places = set()
        for _ in range(6):
            connection = connect()
            connection.request("POST", path, json.dumps(body), HEAD)
            response = connection.getresponse()
            assert response.status == 200, (path, response.read())
            response.read()
            places.add(response.headers["x-board"])
        assert (len(places) == 1) == (path != "/tokenize"), (path, places)
    connection = connect()
    connection.request("GET", "/metrics", headers=HEAD)
    assert connection.getresponse().status == 404, "clients see the metrics of a board"


def check_kill(boards: list[Board], seconds: float) -> tuple[int, int, list[str]]:
    """Kills a board in the middle of a load; requests, failures, and what clients see."""
    load = Load()
    with load.running():
        time.sleep(seconds / 2)
        killed = time.monotonic()
        boards[1].end(signal.SIGKILL)
        time.sleep(seconds)
    failed = [outcome for outcome in load.outcomes if outcome.fault]
    for outcome in failed:
        assert outcome.began < killed, ("it was sent to a board that was gone", outcome)
        assert outcome.ended < killed + 2, ("its client was told late", outcome)
        if outcome.status == 200:
            # A stream that had begun is cut, and not ended as if it were whole.
            assert outcome.streamed and "IncompleteRead" in outcome.fault, outcome
        else:
            assert outcome.status in (502, 503, 504), outcome
    # Those that ran, and those that took their places before the last connection was closed.
    assert 1 <= len(failed) <= 2 * SLOTS, [outcome.fault for outcome in failed]
    later = [outcome for outcome in load.outcomes if outcome.began > killed]
    assert len(later) > CLIENTS, "the other boards go on"
    kinds = [
        "a stream that is cut" if outcome.status == 200 else f"status {outcome.status}"
        for outcome in failed
    ]
    return len(load.outcomes), len(failed), kinds


def check_return(boards: list[Board], places: dict[int, str]) -> None:
    """A board that comes back takes back its conversations."""
    await_boards(2)
    boards[1].start()
    await_boards(3)
    for number, place in places.items():
        outcome = ask(conversation(number), tokens=1)
        assert outcome.board == place, (number, place, outcome)


def check_retries(boards: list[Board], seconds: float) -> int:
    """Clients of the official package get every reply while a board is killed."""
    import openai

    reach = {"base_url": f"http://{PROXY}:{PROXY_PORT}/v1", "api_key": KEY}
    client, replies, faults = openai.OpenAI(**reach), [], []
    ends = threading.Event()

    def go(number: int) -> None:
        while not ends.is_set():
            try:
                replies.append(
                    client.chat.completions.create(
                        model="any", messages=conversation(20_000 + number + len(replies)),
                        max_tokens=TOKENS,
                    )
                )  # fmt: skip
            except openai.OpenAIError as fault:
                faults.append(fault)

    threads = [threading.Thread(target=go, args=(i * 1000,)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    boards[2].end(signal.SIGKILL)
    time.sleep(seconds)
    ends.set()
    for thread in threads:
        thread.join()
    assert not faults, faults
    return len(replies)


def check_end(boards: list[Board]) -> None:
    """Without boards, clients are told at once."""
    for board in boards[:2]:
        board.end(signal.SIGTERM)
    await_boards(0)
    outcome = ask(conversation(0))
    assert outcome.status == 503 and outcome.ended - outcome.began < 5, outcome
    connection = connect()
    connection.request("GET", "/health")
    response = connection.getresponse()
    assert response.status == 503 and response.headers["retry-after"] == "5"


@contextmanager
def proxy():
    run("haproxy", "-c", "-q", "-f", CONFIGURATION)
    with open(FOLDER / "haproxy.log", "w") as log:
        process = subprocess.Popen(["haproxy", "-f", str(CONFIGURATION)], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="how long each load is measured")
    parser.add_argument("--share", type=float, default=0.2, help="of a processor for each board")
    args = parser.parse_args()
    prepare("fleet", PACKAGES)
    isolate()
    lay_network()
    with ExitStack() as stack:
        key = Path("/run/netns/key")
        key.write_text(KEY)
        flags = ["--api-key-file", key, "--slots", SLOTS, "--ctx", 512, "--threads", 1]
        boards = []
        for i, (name, address) in enumerate(BOARDS.items()):
            place = ["--listen", f"{address}:8080", "--cpus", i % os.cpu_count()]
            command = [args.kinglet, "serve", args.model, *place, *flags]
            group = stack.enter_context(limited(name, args.share))
            boards.append(Board(name, [str(part) for part in command], group))
        stack.enter_context(proxy())
        stack.callback(lambda: [b.end(signal.SIGKILL) for b in boards if b.process])
        speeds = check_growth(boards, args.seconds)
        print("tokens/s with one, two and three boards:", *(f"{s:.0f}" for s in speeds))
        places = check_stickiness()
        check_other_forms()
        print(f"{len(places)} conversations stay on their boards")
        asked, failed, kinds = check_kill(boards, args.seconds)
        print(f"one killed under load: {failed} of {asked} requests fail: {', '.join(kinds)}")
        check_return(boards, places)
        print("it takes back its conversations")
        replies = check_retries(boards, args.seconds)
        print(f"openai for Python gets all {replies} replies while another is killed")
        check_end(boards)
        print("without boards there is a 503")


if __name__ == "__main__":
    main()
