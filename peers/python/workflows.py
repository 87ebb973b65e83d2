"""The saga as samples of Temporal's Python SDK write one: compensations in a list, run backwards.

The SDK loads this file in a sandbox, so it holds nothing but the workflow and its input.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=3,
)
# A minute in the samples: here a run need not wait longer for what a killed worker had begun.
TIMEOUT = timedelta(seconds=10)


@dataclass
class Order:
    """What a customer asks for."""

    id: str
    total: str
    # What the first step puts on record.
    placed: dict[str, Any]


@workflow.defn
class TextbookSaga:
    @workflow.run
    async def run(self, order: Order) -> None:
        order_id = order.id
        compensations: list[str] = []
        await carry_out("open", order)
        compensations.append("fail")
        try:
            await carry_out("reserve", order_id)
            compensations.append("release")
            await carry_out("charge", order_id)
            compensations.append("refund")
            await carry_out("post", order_id)
            compensations.append("reverse")
            await carry_out("ship", order_id)
            await carry_out("recognise", order_id)
        except Exception:
            for compensation in reversed(compensations):
                await carry_out(compensation, order_id)
            raise


async def carry_out(activity: str, argument: Order | str) -> None:
    await workflow.execute_activity(
        activity, argument, start_to_close_timeout=TIMEOUT, retry_policy=RETRIES
    )
