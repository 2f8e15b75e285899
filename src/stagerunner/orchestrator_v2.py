"""The embedding API of documents 000 and 001, for programs that process papers themselves.

A face only: what stands here lives in `stagerunner.embedding`, and nobody inside
the runner imports it.  docs/orchestrator.md has an example of each.
"""

from __future__ import annotations

from stagerunner.embedding.coordinator import ParallelPipelineCoordinator
from stagerunner.embedding.defaults import create_v2_config_defaults
from stagerunner.embedding.errors import ErrorClassifier
from stagerunner.embedding.errors import ErrorType
from stagerunner.embedding.papers import CheckpointManagerV2
from stagerunner.embedding.quota import SimpleQuotaManager
from stagerunner.embedding.retrying import RetryHelper

__all__ = ['CheckpointManagerV2', 'ErrorClassifier', 'ErrorType', 'ParallelPipelineCoordinator',
           'RetryHelper', 'SimpleQuotaManager', 'create_v2_config_defaults']
