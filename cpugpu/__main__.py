"""`python -m cpugpu` is the command `cpugpu`."""

import sys

from cpugpu.cli import main

sys.exit(main())
