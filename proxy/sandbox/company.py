"""The company whose data the stand-in serves: made up, in the shapes that Telenor has published.

Where a published shape names a member but not what is in it, the content is a guess;
docs/sandbox.md says which.
"""

from typing import Any, Final

#: Organization number and name of Telenor's own example.
ORG_NUMBER: Final = "914742315"
_NAME: Final = "TELENOR"

#: Published: a top-level array of `orgNumber` and `name`.
ORGANIZATIONS: Final = ({"orgNumber": ORG_NUMBER, "name": _NAME},)

#: Published as the type of an account's and an agreement's `owner`. The number has another name
#: than in `ORGANIZATIONS`.
OWNER: Final = {"organizationNumber": ORG_NUMBER, "name": _NAME}

#: Published: a top-level array with these members. The second one is that of the example order.
AGREEMENTS: Final = tuple(
    {
        "id": agreement_id,
        "category": "Mobilt Bedriftsnett avtale",
        "validFrom": "2017-06-30",
        "validTo": "2027-06-30",
        "owner": OWNER,
        "status": "ACTIVE",
    }
    for agreement_id in ("123456", "5538579")
)

#: Published: the path, and that it gives an `addressCardId`. The array and `address` are a guess.
ADDRESS_CARDS: Final = {
    ORG_NUMBER: (
        {"addressCardId": "1000001", "address": "Snarøyveien 30, 1360 Fornebu"},
        {"addressCardId": "1000002", "address": "Postboks 800, 1331 Fornebu"},
    )
}

#: Published: that there is a `type`. What is in it is a guess.
_SUBSCRIPTION_TYPE: Final = {"id": "50001", "name": "Sandbox Bedrift"}
#: The number of Telenor's own example order, and the next one.
_MSISDNS: Final = ("4799885577", "4799885578")


def subscriptions() -> dict[str, dict[str, Any]]:
    """Make the subscriptions that the company begins with, by MSISDN."""
    return {number: {"msisdn": number, "type": _SUBSCRIPTION_TYPE} for number in _MSISDNS}
