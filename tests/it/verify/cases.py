"""Requests as a receiver stored them, given as files of JSON: headers, body_base64, secret, other_secret.

check() has a library believe each of them, and refuse it with another body, with another secret, and with each header that
the signature covers changed.
"""

import base64
import json
import sys


def check(verify, refusal, covered):
    """verify(headers, body, secret) raises refusal when it does not believe a request."""
    paths = sys.argv[1:]
    if not paths:
        sys.exit("name the files of the requests")
    for path in paths:
        with open(path, encoding="utf-8") as file:
            case = json.load(file)
        headers = dict(case["headers"])
        body = base64.b64decode(case["body_base64"])
        verify(headers, body, case["secret"])
        changed = [
            ("another body", headers, body + b" ", case["secret"]),
            ("another secret", headers, body, case["other_secret"]),
        ]
        for name in covered:
            value = headers[name]
            # A timestamp a second later, another last letter in an id.
            other = str(int(value) + 1) if value.isdigit() else value[:-1] + ("a" if value[-1] != "a" else "b")
            changed.append((name + " changed", {**headers, name: other}, body, case["secret"]))
        for what, headers_, body_, secret in changed:
            try:
                verify(headers_, body_, secret)
            except refusal:
                continue
            sys.exit(f"{path}: believed with {what}")
    print(f"{len(paths)} verified")
