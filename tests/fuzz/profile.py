"""How long the property tests search.

Each law is tried on three hundred messages, the same ones in every run, so that a failure can be
repeated. `TELENOR_PROXY_FUZZ_EXAMPLES=20000` searches that many new ones for each law; what it
finds belongs into a unit test.
"""

import os

from hypothesis import HealthCheck, Phase, settings

_ASKED_FOR = os.environ.get("TELENOR_PROXY_FUZZ_EXAMPLES")

SEARCH = settings(
    max_examples=int(_ASKED_FOR or 300),
    derandomize=_ASKED_FOR is None,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    # Messages are drawn byte by byte in places; that is slow on a busy machine, and no fault.
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
