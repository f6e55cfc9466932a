"""An old order system: plain HTTP to one address, no tokens, an order every ten seconds."""

import http.client
import itertools
import json
import time

HEADERS = {"Content-Type": "application/json"}

for number in itertools.count(50795):
    order = {"productId": str(number), "msisdn": "4799885577", "type": "ADD_PRODUCT"}
    # Longer than the proxy waits for Telenor: a client that gives up first does not know whether
    # the order was placed.
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=90)
    try:
        connection.request(
            "POST", "/corporate-mobile-subscriptions/v2/orders", json.dumps(order), HEADERS
        )
        answer = connection.getresponse()
        print(answer.status, answer.read().decode(), flush=True)
    except (OSError, http.client.HTTPException) as problem:
        print("no answer:", problem, flush=True)
    finally:
        connection.close()
    time.sleep(10)
