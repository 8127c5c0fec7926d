"""`python -m alexnet` is the `alexnet` command."""

from alexnet.cli.main import main
from alexnet.distributed.process import ending_at_once

with ending_at_once():
    main()
