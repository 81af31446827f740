#!/usr/bin/env python3
"""Looks at the page of `kinglet serve` with axe, which knows the rules of accessibility.

    tests/serve/page.py MODEL [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do, the real one shows
real replies. axe-core comes from npm into target/serve, Debian's chromium-headless-shell must be
there. Pictures of the page are left in target/serve/page. Exit code 1: axe has found something.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "target/serve"
AXE = "axe-core@4.14.1"
BROWSER = [
    "chromium-headless-shell",
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-background-networking", "--remote-debugging-pipe", "about:blank"),
]
WINDOWS = [(360, 740), (1280, 800)]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
TALK = [
    "What is a kinglet? Answer in two sentences.",
    "Write a Python function that adds two numbers. Put it in a code block.",
]


@contextmanager
def server(kinglet: str, model: str):
    """A server; its address."""
    command = [kinglet, "serve", model, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), "the server does not start"
        yield line.removeprefix("listening on ").strip() + "/"
    finally:
        process.terminate()
        assert process.wait(60) == 0, "the server ends in order"


class Browser:
    """A browser with one page, over the pipes of its developer tools."""

    def __init__(self, profile: str) -> None:
        command = ["sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null', *BROWSER]
        command.insert(4, f"--user-data-dir={profile}")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, **pipes, stderr=subprocess.DEVNULL)
        self.calls, self.session = 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]

    def call(self, method: str, **params) -> dict:
        self.calls += 1
        call = {"id": self.calls, "method": method, "params": params}
        if self.session:
            call["sessionId"] = self.session
        self.process.stdin.write(json.dumps(call).encode() + b"\0")
        self.process.stdin.flush()
        while True:
            text = bytearray()
            while (byte := self.process.stdout.read(1)) != b"\0":
                assert byte, "the browser has ended"
                text += byte
            answer = json.loads(text)
            if answer.get("id") == self.calls:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, expression: str):
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        self.evaluate(
            f"(async () => {{ while (!({condition})) await new Promise(requestAnimationFrame); }})()"
        )

    def show(self, width: int, height: int, scheme: str) -> None:
        sizes = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **sizes)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def keep(self, name: str) -> None:
        picture = self.call("Page.captureScreenshot", format="png")["data"]
        (FOLDER / "page" / f"{name}.png").write_bytes(base64.b64decode(picture))


def faults(browser: Browser, axe: str, name: str) -> list:
    """What axe finds wrong with the page as it is shown now; a picture of it is kept."""
    browser.keep(name)
    browser.evaluate(axe + "; 0")
    options = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})
    found = browser.evaluate(f"axe.run(document, {options}).then((found) => found.violations)")
    return [
        f"{name}: {fault['id']}: {fault['help']}: {[node['html'] for node in fault['nodes']]}"
        for fault in found
    ]


def look(browser: Browser, axe: str, address: str) -> list:
    """Everything that is wrong in any state, on a phone and on a wide screen, light and dark."""
    found = []
    for width, height in WINDOWS:
        browser.show(width, height, "light")
        browser.call("Page.navigate", url=address)
        browser.wait("window.$ !== undefined || document.title.includes('–')")
        pictures = [("empty", "0")]
        talk = " ".join(f"await send({json.dumps(text)});" for text in TALK)
        pictures.append(("chat", f"(async () => {{ $('tokens').value = 120; {talk} }})()"))
        pictures.append(("settings", "settings.open = true"))
        wrong = "settings.open = false; schema.value = '{\"uniqueItems\": true}'; send('one')"
        pictures.append(("error", f"{wrong}.then(() => {{ $('key').hidden = false; }})"))
        for state, script in pictures:
            browser.evaluate(f"Promise.resolve({script}).then(() => 0)" if ";" not in script else script)
            for scheme in ["light", "dark"]:
                browser.show(width, height, scheme)
                found += faults(browser, axe, f"{state}-{width}-{scheme}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--kinglet", default=ROOT / "target/release/kinglet")
    args = parser.parse_args()
    (FOLDER / "page").mkdir(parents=True, exist_ok=True)
    axe = FOLDER / "node_modules/axe-core/axe.min.js"
    if not axe.exists():
        subprocess.run(["npm", "install", "--silent", "--prefix", FOLDER, AXE], check=True)
    with server(args.kinglet, args.model) as address, tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            found = look(browser, axe.read_text(), address)
        finally:
            browser.process.terminate()
            browser.process.wait()
    print("\n".join(found) or f"{AXE}: nothing found in {4 * 2 * len(WINDOWS)} states")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
