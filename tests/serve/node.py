#!/usr/bin/env python3
"""Checks that the official OpenAI package for Node works with `kinglet serve`.

    tests/serve/node.py MODEL [--kinglet target/release/kinglet]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. It needs `node`
and `npm`, and installs the package into target/serve/node. The calls are in `node.mjs`. Exit code
1: something is not as the package promises.
"""

import subprocess
import sys
from pathlib import Path

from served import FOLDER, KEY, arguments, server

PACKAGE = "openai@7.59.0"


def main() -> None:
    args = arguments(__doc__).parse_args()
    folder = FOLDER / "node"
    version = PACKAGE.split("@")[1]
    done = folder / f"openai-{version}"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "--silent", "--prefix", folder, "install", PACKAGE], check=True)
        done.touch()
    script = Path(__file__).with_name("node.mjs")
    with server(args.kinglet, args.model) as address:
        outcome = subprocess.run(["node", script, folder, address, KEY])
    if outcome.returncode == 0:
        print(f"openai {version} for Node: all calls did what they should")
    sys.exit(1 if outcome.returncode else 0)


if __name__ == "__main__":
    main()
