"""The durable queue of document 002, for programs that embed the runner.

A face only: what stands here lives in `stagerunner.work` and `stagerunner.limits`,
and nobody inside the runner imports it.
"""

from __future__ import annotations

from stagerunner.errors import LeaseLost
from stagerunner.limits import KeyedLimiter
from stagerunner.limits import TokenBucket
from stagerunner.limits import host_key
from stagerunner.work.entries import Attempt
from stagerunner.work.entries import Entry
from stagerunner.work.entries import JobState
from stagerunner.work.orchestrator import Orchestrator
from stagerunner.work.orchestrator import OrchestratorConfig
from stagerunner.work.store import WorkQueue
from stagerunner.work.worker import Worker

__all__ = ['Attempt', 'Entry', 'JobState', 'KeyedLimiter', 'LeaseLost', 'Orchestrator',
           'OrchestratorConfig', 'TokenBucket', 'WorkQueue', 'Worker', 'host_key']
