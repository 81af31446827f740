#!/usr/bin/env python3
"""Asks `kinglet serve` what its own document allows and what it does not, by schemathesis.

    tests/serve/conformance.py MODEL [--kinglet target/release/kinglet] [--examples 200]

MODEL is what `kinglet serve` takes; a small model of the tests' goldens will do. schemathesis is
installed into target/serve/conformance. It makes requests from /openapi.json, valid ones and wrong ones, and
checks that no answer has a status of 500 or above, and that each has a status, a type, headers and
a document that /openapi.json names for it. Exit code 1: an answer is otherwise.
"""

import subprocess
import sys

from served import FOLDER, KEY, arguments, prepare, server

PACKAGE = "schemathesis==4.32.5"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--examples", type=int, default=200, help="requests for each path")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    prepare("conformance", [PACKAGE])
    with server(args.kinglet, args.model) as address:
        command = [
            FOLDER / "conformance/bin/schemathesis",
            *("run", f"{address}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
            *("--checks", ",".join(CHECKS), "--mode", "all", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", str(args.examples), "--seed", str(args.seed), "--workers", "1"),
            *("--request-timeout", "60", "--generation-database", "none", "--no-color"),
        ]
        status = subprocess.run(command, cwd=FOLDER).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
