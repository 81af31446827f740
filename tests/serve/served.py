"""What the checks of clients share: their packages, a server, and where both are found."""

import argparse
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "target/serve"
KEY = "a-key-of-the-tests-1"


def arguments(about: str) -> argparse.ArgumentParser:
    """A reader of the arguments that all checks take."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=style)
    parser.add_argument("model", help="what `kinglet serve` takes")
    parser.add_argument("--kinglet", default=ROOT / "target/release/kinglet")
    return parser


def prepare(name: str, packages: list[str]) -> None:
    """Goes on in an interpreter of its own that has these packages."""
    venv = FOLDER / name
    if Path(sys.prefix) == venv:
        return
    done, wanted = venv / "complete", " ".join(packages)
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([venv / "bin/python", "-m", "pip", "-q", "install", *packages], check=True)
        done.write_text(wanted)
    sys.exit(subprocess.run([venv / "bin/python", *sys.argv]).returncode)


@contextmanager
def server(kinglet: str, model: str, *flags: str):
    """A server with a key; its address."""
    with tempfile.NamedTemporaryFile("w", suffix=".key") as key:
        key.write(KEY)
        key.flush()
        command = [kinglet, "serve", model, "--listen", "127.0.0.1:0", "--api-key-file", key.name]
        process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on "), "the server does not start"
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()
            assert process.wait(60) == 0, "the server ends in order"
