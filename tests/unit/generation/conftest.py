"""Tiny models compute nothing that two threads could share; on a busy machine their spinning costs minutes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
