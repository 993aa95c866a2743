"""``python -m sklfusion.cli``."""

import sys

from sklfusion.cli import main

sys.exit(main())
