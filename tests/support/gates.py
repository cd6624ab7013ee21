"""A gate on a clock that is turned by hand, and tasks that ask it for permits."""

import asyncio
import math

from support.clock import FakeClock, settle

from rerank_async.policy.concurrency import ConcurrencyBound
from rerank_async.policy.limiting import LearningLimiter
from rerank_async.runtime.gate import Gate


def gate_of(rate=math.inf, burst=None, most=128, start=1000.0, *, slow_start=False, clock=None, **options):
    clock = FakeClock(start) if clock is None else clock
    limiter = options.pop("limiter", None) or LearningLimiter(rate, burst)
    return Gate(limiter, ConcurrencyBound(most, slow_start=slow_start), clock, **options), clock


class Askers:
    """Tasks that ask a gate for permits and send at once unless they are to hold, and what became of them, in order."""

    def __init__(self, gate, clock):
        self.gate, self.clock = gate, clock
        self.order = []
        self.permits = {}
        self.tasks = {}

    def start(self, name, ticket=None, deadline=None, *, flow=None, hold=False):
        """As `ask`, without waiting until the task waits."""
        ticket = self.gate.ticket() if ticket is None else ticket

        async def enter():
            permit = await self.gate.enter(ticket, deadline, flow)
            self.order.append(name)
            self.permits[name] = permit
            if not hold:
                self.gate.sent(permit)

        self.tasks[name] = asyncio.create_task(enter())
        return ticket

    async def ask(self, name, ticket=None, deadline=None, *, flow=None, hold=False):
        ticket = self.start(name, ticket, deadline, flow=flow, hold=hold)
        await settle()
        return ticket

    def leave(self, name):
        self.gate.leave(self.permits[name])

    def error(self, name):
        """What ended the waiting of this one; None: it waits, or it has its permit."""
        task = self.tasks[name]
        return task.exception() if task.done() and not task.cancelled() else None

    async def cancel_rest(self):
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
