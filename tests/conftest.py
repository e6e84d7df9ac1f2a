"""One thread for OpenMP in every process that tests start, set before any of them loads torch.

Two pytest workers with two threads each would wait for each other on two cores; tiny models gain nothing from a
second thread. A value that is set already wins.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
