"""Bulk offline reranking: a job that finishes, can be resumed, and says how good it was.

    async with AsyncRerank(model_id, credentials=..., project_id=...) as client:
        summary = await rerank_file(client, "queries.jsonl", "ranked.jsonl", resume=True)

The command line `rerank-async bulk` and `rerank-async eval` do the same.
"""

from rerank_async.bulk.errors import BadItemError, BulkError, JobError, JobStoppedError, OutputError, SourceError
from rerank_async.bulk.evaluation import Comparison, Evaluation, QueryChange, evaluate
from rerank_async.bulk.events import BulkEvent, BulkObserver, Outage, OutageOver, QueryDone, Started, Summary
from rerank_async.bulk.job import BulkJob
from rerank_async.bulk.planning import BulkPlan
from rerank_async.bulk.reranking import plan_file, rerank_file

__all__ = [
    "BadItemError",
    "BulkError",
    "BulkEvent",
    "BulkJob",
    "BulkObserver",
    "BulkPlan",
    "Comparison",
    "Evaluation",
    "JobError",
    "JobStoppedError",
    "Outage",
    "OutageOver",
    "OutputError",
    "QueryChange",
    "QueryDone",
    "SourceError",
    "Started",
    "Summary",
    "evaluate",
    "plan_file",
    "rerank_file",
]
