"""Writes openapi.json: the operations that `cargo xtask release github` and `release init` use, out of GitHub's
description of its REST API. Usage: python3 subset.py package/generated/api.github.com.json (README.md)."""

import json
import pathlib
import sys

OPERATIONS = [
    ("get", "/repos/{owner}/{repo}/releases"),
    ("post", "/repos/{owner}/{repo}/releases"),
    ("patch", "/repos/{owner}/{repo}/releases/{release_id}"),
    ("post", "/repos/{owner}/{repo}/releases/{release_id}/assets"),
    ("get", "/repos/{owner}/{repo}/releases/assets/{asset_id}"),
    ("delete", "/repos/{owner}/{repo}/releases/assets/{asset_id}"),
    ("get", "/repos/{owner}/{repo}/commits/{ref}"),
    ("get", "/repos/{owner}/{repo}/environments/{environment_name}/secrets"),
    ("get", "/repos/{owner}/{repo}/environments/{environment_name}/variables"),
]
PROSE = {"description", "example", "examples", "summary", "externalDocs", "tags", "x-github", "x-multi-segment"}

source = json.load(open(sys.argv[1]))


def resolve(ref):
    value = source
    for part in ref.removeprefix("#/").split("/"):
        value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def plain(value, names=False):
    """Without prose and references to anything but schemas, and with OpenAPI's `nullable` as JSON Schema has it.
    `names`: the keys are those of a document, not of a schema."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    ref = value.get("$ref")
    if isinstance(ref, str) and not ref.startswith("#/components/schemas/"):
        return plain(resolve(ref))
    result = {k: plain(v, k == "properties" and not names) for k, v in value.items() if names or k not in PROSE}
    if not names and result.pop("nullable", False):
        result = {"anyOf": [result, {"type": "null"}]}
    return result


paths = {}
for method, path in OPERATIONS:
    paths.setdefault(path, {})[method] = plain(source["paths"][path][method])
schemas, wanted = {}, json.dumps(paths)
while True:
    missing = [n for n in source["components"]["schemas"] if n not in schemas and f'"#/components/schemas/{n}"' in wanted]
    if not missing:
        break
    for name in missing:
        schemas[name] = plain(source["components"]["schemas"][name])
        wanted += json.dumps(schemas[name])
# What the text about uploads names, and the schema leaves out.
assert "`starter`" in source["paths"]["/repos/{owner}/{repo}/releases/{release_id}/assets"]["post"]["description"]
schemas["release-asset"]["properties"]["state"]["enum"].append("starter")
document = {
    "openapi": source["openapi"],
    "info": {key: source["info"][key] for key in ("title", "version", "license")},
    "paths": paths,
    "components": {"schemas": dict(sorted(schemas.items()))},
}
out = pathlib.Path(__file__).with_name("openapi.json")
out.write_text(json.dumps(document, separators=(",", ":")) + "\n")
