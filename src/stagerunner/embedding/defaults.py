"""The `v2_features` of a config, as they are when nothing is said."""

from __future__ import annotations

import copy
from typing import Any
from typing import Dict

_FEATURES: Dict[str, Any] = {
    'max_workers': 4,
    'enable_parallel': False,
    'checkpoint_file': 'pipeline_checkpoint.json',
    'retry': {'attempts': 3, 'base': 0.5, 'factor': 2.0, 'max_delay': 60.0,
              'enable_jitter': True},
    'quota': {'gemini_api': {'rate': 60, 'per_seconds': 60}},
    'feature_flags': {'enable_parallel_processing': False, 'enable_quota_management': True,
                      'enable_smart_retry': True},
}


def create_v2_config_defaults() -> Dict[str, Any]:
    """Return a fresh copy, for a program to change and to write into its config."""
    return copy.deepcopy(_FEATURES)
