"""Verifies a request of a web hook with the standardwebhooks library: python webhooks.py SECRET_FILE HEADERS BODY."""

import json
import pathlib
import sys

from standardwebhooks import Webhook, WebhookVerificationError

secret, headers, body = (pathlib.Path(path).read_bytes() for path in sys.argv[1:])
webhook = Webhook(secret.decode().strip())
headers = {name.lower(): value for name, value in json.loads(headers).items()}
event = webhook.verify(body, headers)
assert event["type"] == "hook.test" and event["id"] == headers["webhook-id"], event


def refuses(why, webhook, body, headers):
    try:
        webhook.verify(body, headers)
    except WebhookVerificationError:
        return
    sys.exit(f"the library takes {why}")


refuses("another body", webhook, body.replace(b"hook.test", b"run.failed"), headers)
refuses("another id", webhook, body, {**headers, "webhook-id": headers["webhook-id"] + "1"})
refuses("another time", webhook, body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)})
refuses("another secret", Webhook("whsec_" + "AAAA" * 8), body, headers)
print("verified", event)
