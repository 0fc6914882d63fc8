"""Makes CloudEvents with the CloudEvents SDK, and reads with it what became of them.

    with_cloudevents.py make           the requests that the SDK makes of them, as JSON
    with_cloudevents.py check FILE…    has the SDK read requests that a receiver stored: headers, body_base64, event

A request that is read has to be the event that was made; without one of its attributes, or with other data, it must not be.
"""

import base64
import json
import sys
from datetime import datetime, timedelta, timezone

from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

EVENTS = {
    "plain": ({"id": "sdk-1", "source": "/sdk", "type": "user.created"}, {"name": "Žofie ✓", "n": [1, 2.5, None]}),
    "everything": (
        {
            "id": "a.dotted id/é",
            "source": "https://example.com/a?b=c%20d",
            "type": "com.example.video_ready",
            "subject": 'Euro € "quoted" 100% 😀',
            "dataschema": "https://example.com/schema#1",
            "datacontenttype": "application/json",
            "time": datetime(2018, 4, 5, 17, 31, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "partitionkey": "k 1",
        },
        {"data": {"data_base64": "no"}},
    ),
    "bytes": ({"id": "sdk-3", "source": "/sdk", "type": "image", "datacontenttype": "image/png"}, b"\x89PNG\x00\xff"),
    "text": ({"id": "sdk-4", "source": "/sdk", "type": "text", "datacontenttype": "text/plain"}, "žluťoučký\n"),
    "nothing": ({"id": "sdk-5", "source": "/sdk", "type": "empty"}, None),
    "other source": ({"id": "sdk-1", "source": "/other", "type": "user.created"}, {"from": "another source"}),
}


def event(name):
    attributes, data = EVENTS[name]
    # What the SDK makes up itself would be another at each call.
    given = {"time": datetime(2026, 11, 21, 5, 30, tzinfo=timezone.utc), **attributes}
    return CloudEvent(given, data)


def make():
    made = []
    for mode, write in [("binary", to_binary_event), ("structured", to_structured_event)]:
        for name in EVENTS:
            message = write(event(name))
            body = base64.b64encode(message.body).decode()
            headers = {"content-type": "application/json", **message.headers}
            made.append({"event": name, "mode": mode, "headers": headers, "body_base64": body})
    print(json.dumps(made))


def plain(read):
    attributes = dict(read.get_attributes())
    # Said explicitly by the JSON format's rules where it was implied.
    if attributes.get("datacontenttype") == "application/json":
        del attributes["datacontenttype"]
    data = read.get_data()
    # The SDK gives text as text in one mode and as bytes in the other.
    return attributes, data.encode() if isinstance(data, str) else data


def changed(headers, body):
    """The request without each of its attributes, and with other data."""
    if "ce-id" in headers:
        for name in ["ce-id", "ce-source", "ce-type"]:
            yield f"without {name}", {key: value for key, value in headers.items() if key != name}, body
        yield "with other data", headers, body + b" x"
        return
    members = json.loads(body)
    for name in ["id", "source", "type"]:
        yield f"without {name}", headers, json.dumps({k: v for k, v in members.items() if k != name}).encode()
    other = {k: v for k, v in members.items() if not k.startswith("data")}
    yield "with other data", headers, json.dumps({**other, "data": "other"}).encode()
    yield "cut short", headers, body[:-1]


def check(paths):
    for path in paths:
        with open(path, encoding="utf-8") as file:
            case = json.load(file)
        headers, body = dict(case["headers"]), base64.b64decode(case["body_base64"])
        wanted = plain(event(case["event"]))
        found = plain(from_http_event(HTTPMessage(headers, body)))
        if found != wanted:
            sys.exit(f"{path}: {found} is not {wanted}")
        for what, headers_, body_ in changed(headers, body):
            try:
                read = plain(from_http_event(HTTPMessage(headers_, body_)))
            except (CloudEventValidationError, json.JSONDecodeError):
                continue
            if read == wanted:
                sys.exit(f"{path}: read as the same {what}")
    print(f"{len(paths)} verified")


if sys.argv[1:] == ["make"]:
    make()
elif sys.argv[1:2] == ["check"] and len(sys.argv) > 2:
    check(sys.argv[2:])
else:
    sys.exit(__doc__)
