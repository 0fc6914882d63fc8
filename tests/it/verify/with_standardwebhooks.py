from cases import check
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verify(headers, body, secret):
    Webhook(secret).verify(body, headers)


check(verify, WebhookVerificationError, ["webhook-id", "webhook-timestamp"])
