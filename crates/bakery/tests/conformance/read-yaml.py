"""Reads every YAML file below a folder with PyYAML and LibYAML, as ansible-core configures them, and writes a line of JSON
for each: its path, its documents, or null where it cannot be read, and a digest of the events that it is made of. Values of
types that JSON lacks are pairs of a type's name and text."""

import datetime
import hashlib
import json
import pathlib
import sys

import yaml


class Loader(yaml.CSafeLoader):
    pass


def unknown(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


Loader.add_multi_constructor("!", unknown)


def plain(value):
    if isinstance(value, dict):
        return ["map", [[plain(k), plain(v)] for k, v in value.items()]]
    if isinstance(value, list):
        return ["list", [plain(v) for v in value]]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return ["date"]
    return [type(value).__name__]


def told(event):
    """An event in a line of text, with its place."""
    parts = [type(event).__name__.removesuffix("Event"), event.start_mark.line, event.start_mark.column]
    parts += [getattr(event, name, None) or "" for name in ("anchor", "tag")]
    match event:
        case yaml.ScalarEvent():
            parts += [*map(int, event.implicit), event.style or "", event.value]
        case yaml.CollectionStartEvent():
            parts += [int(event.implicit), int(event.flow_style)]
        case yaml.DocumentStartEvent() | yaml.DocumentEndEvent():
            parts.append(int(not event.explicit))
    return "\t".join(map(str, parts))


for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.y*ml")):
    if not path.is_file():
        continue
    try:
        documents = [plain(d) for d in yaml.load_all(path.read_bytes(), Loader)]
    except Exception:  # noqa: BLE001 - that it cannot be read is the answer
        documents = None
    digest = hashlib.sha256()
    # A last line without an end is given one, here as there.
    text = path.read_bytes()
    try:
        for event in yaml.parse(text if text.endswith(b"\n") else text + b"\n", Loader):
            digest.update((told(event) + "\n").encode())
    except yaml.YAMLError:
        digest.update(b"error")
    print(json.dumps([str(path), documents, digest.hexdigest()]))
