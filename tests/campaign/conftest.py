# SPDX-License-Identifier: Apache-2.0
"""Crash campaigns that still find faults on some seeds: run by hand (`tests/run campaign`), not part of `make test` until they pass on
all. FOREBAY_SEED chooses."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "crash"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
