"""The errors of bulk jobs.

RerankError
└── BulkError                       the root
    ├── SourceError   (ValueError)  a file that is read cannot be used
    │   └── BadItemError            one query of it cannot be sent
    ├── JobError      (ValueError)  the job cannot be begun or resumed as asked
    ├── OutputError   (OSError)     something cannot be written
    └── JobStoppedError             the service ended the job: an outage, a dead credential, a spent quota
"""

from __future__ import annotations

from rerank_async.errors import RerankError

__all__ = ["BadItemError", "BulkError", "JobError", "JobStoppedError", "OutputError", "SourceError"]


class BulkError(RerankError):
    """The root of what a bulk job raises by itself."""


class SourceError(BulkError, ValueError):
    """A file that is read is missing, damaged, or not of the expected form; the message names file and line."""


class BadItemError(SourceError):
    """One query of the source cannot be sent.

    Attributes:
        code: What is wrong, such as ``"bad_line"`` or ``"missing_document"``.
        line: The line of the source, from 1.
    """

    def __init__(self, message: str, *, code: str = "bad_line", line: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


class JobError(BulkError, ValueError):
    """The job cannot be begun or resumed as asked: an output that exists, or the journal of another job."""


class OutputError(BulkError, OSError):
    """The output, its journal or another file of the job cannot be written."""


class JobStoppedError(BulkError):
    """The service ended the job, which can be resumed.

    Attributes:
        reason: The service's error, which is also the ``__cause__``; None on an error made without one.
    """

    def __init__(self, message: str, *, reason: RerankError | None = None) -> None:
        super().__init__(message)
        self.reason = reason
