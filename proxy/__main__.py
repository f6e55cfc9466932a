"""`python -m proxy` is the command `telenor-proxy`."""

import sys

from proxy.cli import main

sys.exit(main())
