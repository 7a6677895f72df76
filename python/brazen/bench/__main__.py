# SPDX-License-Identifier: BSD-3-Clause
"""`python -m brazen.bench`, the same as `python -m brazen bench`."""

import sys

from . import main

sys.exit(main())
