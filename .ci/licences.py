"""Fails when a dependency that is linked into the program has a licence outside the allowed list.

The list stands in .deny.toml, where cargo-deny finds it too; that tool takes minutes to build, this takes a second.
"""

import json
import subprocess
import sys
import tomllib

ALLOWED = set(tomllib.load(open(".deny.toml", "rb"))["licenses"]["allow"])


def allowed(expression):
    """Evaluates an SPDX expression: OR binds weaker than AND, WITH belongs to its licence, `/` is an old OR."""
    tokens = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ").split()

    def alternatives():
        result = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = conjunction() or result
        return result

    def conjunction():
        result = licence()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = licence() and result
        return result

    def licence():
        token = tokens.pop(0)
        if token == "(":
            result = alternatives()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in ALLOWED

    return alternatives()


def main():
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    packages = [package for package in metadata["packages"] if package["id"] in used]
    faults = [p for p in packages if not p["license"] or not allowed(p["license"])]
    for p in faults:
        print(f"{p['name']} {p['version']}: licence {p['license']!r} is not in the allowed list of .deny.toml")
    print(f"{len(packages)} packages, {len(faults)} with a licence that is not allowed")
    sys.exit(bool(faults))


main()
