import stripe
from cases import check


def verify(headers, body, secret):
    event = stripe.Webhook.construct_event(body.decode(), headers["stripe-signature"], secret)
    assert event["type"] == "invoice.paid", event


check(verify, stripe.SignatureVerificationError, [])
