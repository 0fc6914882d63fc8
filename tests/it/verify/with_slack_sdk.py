from cases import check
from slack_sdk.signature import SignatureVerifier


class Refused(Exception):
    pass


def verify(headers, body, secret):
    if not SignatureVerifier(secret).is_valid_request(body, headers):
        raise Refused


check(verify, Refused, ["x-slack-request-timestamp"])
