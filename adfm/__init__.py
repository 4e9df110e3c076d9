"""Train, evaluate and use reasoning vision-language models for industrial anomaly detection."""

import os

# OpenMP reads these once, when torch is imported. Threads that spin while they wait make a step 5 to 10 times slower
# as soon as anything else runs on the same cores.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
