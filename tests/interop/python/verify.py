"""The published verifier accepts what arrived, and nothing altered.

argument: a file with [{secret, headers, body (base64)}]
"""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="utf-8") as file:
    arrivals = json.load(file)

for arrival in arrivals:
    body = base64.b64decode(arrival["body"]).decode("utf-8")
    webhook = Webhook(arrival["secret"])
    webhook.verify(body, arrival["headers"])
    try:
        webhook.verify(body + " ", arrival["headers"])
    except WebhookVerificationError:
        continue
    sys.exit("an altered body was accepted")

print(f"{len(arrivals)} verified")
