"""Reads every YAML file below a folder with PyYAML and LibYAML, as ansible-core configures them, and writes a line of JSON
for each: its path, and its documents, or null where it cannot be read. Values of types that JSON lacks are pairs of a type's
name and text."""

import datetime
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


for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.y*ml")):
    if not path.is_file():
        continue
    try:
        documents = [plain(d) for d in yaml.load_all(path.read_bytes(), Loader)]
    except Exception:  # noqa: BLE001 - that it cannot be read is the answer
        documents = None
    print(json.dumps([str(path), documents]))
