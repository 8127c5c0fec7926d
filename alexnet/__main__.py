"""`python -m alexnet` is the `alexnet` command."""

from alexnet.cli import main
from alexnet.worker import ending_at_once

with ending_at_once():
    main()
