"""Reads forms and XML with Python's own parsers: urllib and expat.

    with_stdlib.py FILE…    requests that a receiver stored: headers, body_base64, event

What is read has to be what the event's data say, and a changed copy must not be.
"""

import base64
import json
import re
import sys
from urllib.parse import parse_qsl
from xml.etree import ElementTree

FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value in ([], {}) else str(value)


def leaves(value, name=None):
    """The pairs of a form, with the brackets that a decoder sees."""
    own = "data" if name is None else name
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, key if name is None else f"{name}[{key}]")
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{own}[{place}]")
    elif value != {} or name is not None:
        yield own, text(value)


def form(body):
    pairs = body.decode("ascii")
    return parse_qsl(pairs, keep_blank_values=True, strict_parsing=bool(pairs), errors="strict")


def tree(name, value):
    """What expat finds: an element's name, text, and the elements in it."""
    inner = []
    if isinstance(value, dict):
        inner = [tree(key, each) for key, each in value.items()]
    if isinstance(value, list):
        inner = [tree("item", each) for each in value]
    scalar = "" if isinstance(value, (dict, list)) else text(value)
    return FORBIDDEN.sub("\ufffd", name), FORBIDDEN.sub("\ufffd", scalar), inner


def xml(body):
    def read(element):
        name = element.get("name", element.tag)
        return name, element.text or "", [read(inner) for inner in element]

    return read(ElementTree.fromstring(body))


def check(path):
    with open(path, encoding="utf-8") as file:
        case = json.load(file)
    body, event = base64.b64decode(case["body_base64"]), case["event"]
    if dict(case["headers"])["content-type"] == "application/xml":
        read, wanted, other = xml, tree("event", event), body.replace(b"</event>", b"<x/></event>")
    else:
        read, wanted, other = form, list(leaves(event)), body + b"&x=1" if body else b"x=1"
    found = read(body)
    if found != wanted:
        sys.exit(f"{path}: {found} is not {wanted}")
    if read(other) == wanted:
        sys.exit(f"{path}: a changed copy is read as the same")


if len(sys.argv) < 2:
    sys.exit(__doc__)
for each in sys.argv[1:]:
    check(each)
print(f"{len(sys.argv) - 1} verified")
