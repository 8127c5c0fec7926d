"""`python -m alexnet` is the `alexnet` command."""

from alexnet.cli.main import main
from alexnet.distributed.process import exit_without_cleanup

with exit_without_cleanup():
    main()
