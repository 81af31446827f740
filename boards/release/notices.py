#!/usr/bin/env python3
"""Prints the licences of every library that a release has compiled in."""

import json
import pathlib
import subprocess

PACKAGES = ["kinglet-cli", "kinglet-c"]
NAMES = ("license", "licence", "copying", "notice", "unlicense", "copyright")


def compiled_in(metadata):
    """The packages behind PACKAGES, without what only builds or tests need."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    left = [id for id, package in packages.items() if package["name"] in PACKAGES]
    found = set()
    while left:
        id = left.pop()
        if id not in found:
            found.add(id)
            for dependency in nodes[id]["deps"]:
                if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                    left.append(dependency["pkg"])
    # What has no source is Kinglet's own.
    return [packages[id] for id in found if packages[id]["source"]]


def licence_texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().startswith(NAMES):
            yield path.read_text(errors="replace").strip()


def main():
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    command += ["--filter-platform=aarch64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    owners = {}
    print("Kinglet has these libraries compiled in:\n")
    for package in sorted(compiled_in(metadata), key=lambda p: (p["name"], p["version"])):
        name = f"{package['name']} {package['version']}"
        print(f"  {name}: {package['license'] or 'see below'}")
        for text in licence_texts(package):
            owners.setdefault(text, []).append(name)
    for text, names in owners.items():
        print(f"\n{'=' * 80}\n{', '.join(names)}\n\n{text}")


main()
