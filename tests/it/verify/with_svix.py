from cases import check
from svix.webhooks import Webhook, WebhookVerificationError


def verify(headers, body, secret):
    # The library takes the headers of either name; without the standard ones it has to read svix's.
    svix = {name: value for name, value in headers.items() if name.startswith("svix-")}
    Webhook(secret).verify(body, svix)


check(verify, WebhookVerificationError, ["svix-id", "svix-timestamp"])
