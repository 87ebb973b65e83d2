"""The bugs that are planted: each a believable mistake that breaks a promise.

An edit names a text that stands once in its file; one that is not there any more, or twice, is an
error, so that this list cannot fall behind the code unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass

SAGA = "workflows/src/saga.rs"
PROCESS = "workflows/src/order_saga.rs"
FAILURE = "workflows/src/failure.rs"
STEPS = "domain/src/steps.rs"
LEDGER = "domain/src/ledger.rs"
KEYS = "activities/src/step_keys.rs"
PAYMENT = "activities/src/payment.rs"
STOCK = "activities/src/stock.rs"
SHIPPING = "activities/src/shipping.rs"
BOOKS = "activities/src/ledger.rs"
ORDERS_SQL = "migrations/0004_orders.sql"
LEDGER_SQL = "migrations/0007_ledger.sql"
CLOSED_SQL = "migrations/0030_closed_books.sql"
ROLE_SQL = "migrations/0014_two_roles.sql"
PLACE = "starter-api/src/app/orders/place.rs"
TEMPORAL = "starter-api/src/temporal.rs"


@dataclass(frozen=True)
class Edit:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug, and the checks that may catch it, the likeliest first."""

    name: str
    edits: tuple[Edit, ...]
    checks: tuple[str, ...]


def mutant(name: str, checks: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, tuple(Edit(*edit) for edit in edits), tuple(checks.split()))


PLANTED = [
    mutant(
        "an undo is registered after its step",
        "matrix",
        (SAGA, "        saga.undos.push(Undo { step: A::CONTRACT.step(), attempt });\n", ""),
        (
            SAGA,
            "        Declared { activity, argument, undos: saga.undos.len() }",
            "        let undos = saga.undos.len();\n"
            "        let undo = Undo { step: A::CONTRACT.step(), attempt };\n"
            "        Declared { activity, argument, undos, undo }",
        ),
        (SAGA, "    undos: usize,\n", "    undos: usize,\n    undo: Undo,\n"),
        (
            SAGA,
            "let Declared { activity, argument, undos } = step;",
            "let Declared { activity, argument, undos, undo } = step;",
        ),
        (
            SAGA,
            "        let output = conclude(&self.ctx, name, done)?;\n",
            "        let output = conclude(&self.ctx, name, done)?;\n"
            "        self.undos.push(undo);\n",
        ),
    ),
    mutant(
        "what a lost run did is forgotten",
        "saga matrix",
        (
            SAGA,
            "        if forward.is_cancelled() {\n            return Err(Stop::Cancelled);\n",
            "        if forward.is_cancelled() {\n"
            "            self.undos.truncate(undos.saturating_sub(1));\n"
            "            return Err(Stop::Cancelled);\n",
        ),
    ),
    mutant(
        "undos run first to last",
        "matrix",
        (
            SAGA,
            "while let Some(Undo { step, attempt }) = self.undos.pop() {",
            "while !self.undos.is_empty() {\n"
            "            let Undo { step, attempt } = self.undos.remove(0);",
        ),
    ),
    mutant(
        "a cancel reaches the undos",
        "matrix saga",
        (
            SAGA,
            "            let token = WorkflowCancellationToken::new();\n"
            "            quick_then_patient(&ctx, activity, argument, None, &token).await",
            "            let token = ctx.state(|saga| saga.progress.forward.clone());\n"
            "            quick_then_patient(&ctx, activity, argument, None, &token).await",
        ),
    ),
    mutant(
        "a broken undo is given up",
        "matrix",
        (
            SAGA,
            "        let Err(failure) = attempt().await else { return Done::Yes };\n"
            "        let before",
            "        let Err(failure) = attempt().await else { return Done::Yes };\n"
            "        if matches!(failure, StepFailure::Broken(_)) { return Done::Skipped; }\n"
            "        let before",
        ),
    ),
    mutant(
        "an unknown outcome is taken for a refusal",
        "matrix",
        (
            SAGA,
            "        if let Err(StepFailure::Rejected(_)) = &done {",
            "        if let Err(StepFailure::Unknown(_)) = &done {\n"
            "            self.undos.truncate(undos.saturating_sub(1));\n"
            "        }\n"
            "        if let Err(StepFailure::Rejected(_)) = &done {",
        ),
    ),
    mutant(
        "a refused order is not unwound",
        "matrix",
        (PROCESS, "            saga.unwind().await;\n", ""),
    ),
    mutant(
        "a cancel that was accepted is forgotten when the step succeeds",
        "matrix saga",
        (
            SAGA,
            "        if forward.is_cancelled() { Err(Stop::Cancelled) } else { Ok(output) }\n",
            "        Ok(output)\n",
        ),
    ),
    mutant(
        "a cancel is accepted after the hand-over",
        "saga matrix",
        (
            PROCESS,
            "if let Some(tracking) = &self.progress.handed_over {",
            "if let Some(tracking) = self.progress.handed_over.as_ref().filter(|_| false) {",
        ),
    ),
    mutant(
        "a cancel from the Web UI is not heard",
        "matrix saga",
        (
            PROCESS,
            "let forward = ctx.cancellation_token().child_token();",
            "let forward = temporalio_workflow::WorkflowCancellationToken::new();",
        ),
    ),
    mutant(
        "the turn to unwinding is noted as quickly as the last",
        "saga",
        (SAGA, "    let attempt = if last {", "    let attempt = if last || !last {"),
    ),
    mutant(
        "a decision is kept for whatever goes wrong next",
        "saga",
        (PROCESS, "Ok(_) if !self.progress.needs_attention => {", "Ok(_) if false => {"),
        (
            SAGA,
            "            ctx.state_mut(|saga| saga.progress.needs_attention = false);\n",
            "            ctx.state_mut(|saga| saga.progress.needs_attention = false);\n"
            "            ctx.state_mut(|saga| saga.progress.resolution = Some(resolution.clone()));\n",
        ),
    ),
    mutant(
        "an operator's retry is taken for a skip",
        "matrix",
        (
            SAGA,
            "            ResolutionKind::Retry => {}\n"
            "            ResolutionKind::Skip => return Done::Skipped,",
            "            ResolutionKind::Retry | ResolutionKind::Skip => return Done::Skipped,",
        ),
    ),
    mutant(
        "a step that timed out counts as broken",
        "matrix",
        (
            FAILURE,
            'Some(FailureInfo::TimeoutFailureInfo(_)) => Self::Unknown("timed out".to_owned())',
            'Some(FailureInfo::TimeoutFailureInfo(_)) => Self::Broken("timed out".to_owned())',
        ),
    ),
    mutant(
        "the order is shipped before it is paid",
        "replay",
        (
            PROCESS,
            "    saga.run(charge).await?;\n    saga.becomes(OrderStatus::Paid);\n\n",
            "",
        ),
        (
            PROCESS,
            "    let parcel = saga.run(ship).await?;\n",
            "    let parcel = saga.run(ship).await?;\n    saga.run(charge).await?;\n"
            "    saga.becomes(OrderStatus::Paid);\n",
        ),
    ),
    mutant(
        "a step's key is made anew for every attempt",
        "matrix",
        (
            PAYMENT,
            "    let claim = Claim::of(charge.key, charge)?;\n"
            "    let receipt = match provider.authorise(charge).await {",
            "    let mut charge = charge.clone();\n"
            "    charge.key.generation = std::time::UNIX_EPOCH.elapsed()\n"
            "        .map_or(7, |since| since.subsec_micros());\n"
            "    let charge = &charge;\n"
            "    let claim = Claim::of(charge.key, charge)?;\n"
            "    let receipt = match provider.authorise(charge).await {",
        ),
    ),
    mutant(
        "a refund leaves no tombstone",
        "activities matrix",
        (
            PAYMENT,
            "    Claim::of(charge.key, charge)?.bury(db).await?;\n    let found",
            "    let found",
        ),
    ),
    mutant(
        "releasing stock leaves no tombstone",
        "activities matrix",
        (STOCK, "    claim.bury(db).await?;\n", "    let _unused = &claim;\n"),
    ),
    mutant(
        "a reversal leaves no tombstone",
        "activities matrix",
        (BOOKS, "    Claim::of(deposit.key(), deposit)?.bury(db).await?;\n", ""),
    ),
    mutant(
        "calling a parcel off leaves no tombstone",
        "activities matrix",
        (SHIPPING, "    Claim::of(parcel.key, parcel)?.bury(db).await?;\n", ""),
    ),
    mutant(
        "a key that was used with another argument is taken for a repeat",
        "activities",
        (KEYS, "if row.argument_hash != self.argument_hash {", "if false {"),
    ),
    mutant(
        "a charge does not look for its tombstone before it captures",
        "activities",
        (
            PAYMENT,
            "        Standing::Undone => return take_back(db, provider, charge, &claim).await,\n"
            "    }\n    match provider.capture",
            "        Standing::Undone => {}\n    }\n    match provider.capture",
        ),
        (
            PAYMENT,
            "        Standing::Undone => take_back(db, provider, charge, &claim).await,\n"
            "        standing @",
            "        Standing::Undone => Err(claim.already_undone()),\n        standing @",
        ),
    ),
    mutant(
        "a refund trusts the shop's memory instead of asking the provider",
        "activities matrix",
        (
            PAYMENT,
            "        PaymentState::Captured | PaymentState::Refunded => {\n"
            "            give_back(db, provider, charge, &receipt).await\n",
            "        PaymentState::Captured | PaymentState::Refunded => {\n"
            "            let _unused = give_back(db, provider, charge, &receipt);\n"
            "            Ok(())\n",
        ),
    ),
    mutant(
        "a declined card is not remembered",
        "activities",
        (
            PAYMENT,
            "            return decline(db, &claim, decline_code).await;",
            "            let _unused = decline(db, &claim, decline_code.clone());\n"
            "            return Err(ActivityFault::Rejected(Rejection::CardDeclined "
            "{ decline_code }));",
        ),
    ),
    mutant(
        "the reversal is missing",
        "activities matrix",
        (
            BOOKS,
            "    let reversal = deposit.reversed();\n",
            "    let reversal = deposit.reversed();\n    if true { return Ok(()); }\n",
        ),
    ),
    mutant(
        "stock is read, and then written",
        "activities",
        (STOCK, "            order by sku for update\n        ), short as", "            order by sku\n        ), short as"),
    ),
    mutant(
        "what is short is sold all the same",
        "activities",
        (STOCK, "where quantity > coalesce(available, 0)\n", "where false and quantity > coalesce(available, 0)\n"),
    ),
    mutant(
        "goods are given back twice",
        "activities",
        (
            STOCK,
            "where reservation_key = $1 and state = 'held'\n            returning reservation_key, order_id",
            "where reservation_key = $1 and state in ('held', 'released')\n"
            "            returning reservation_key, order_id",
        ),
    ),
    mutant(
        "a parcel is sent though its goods are not held",
        "activities",
        (SHIPPING, "    if !goods.are_held {", "    if false {"),
        (
            SHIPPING,
            "case when exists (select from held) then $5::jsonb else $6 end",
            "case when true then $5::jsonb else $6 end",
        ),
    ),
    mutant(
        "an event's message is lost",
        "activities matrix",
        (
            ORDERS_SQL,
            "    insert into outbox.messages (order_id, sequence, type, data)\n"
            "    values (the_order, the_number, event_type, event);\n",
            "",
        ),
    ),
    mutant(
        "an order may take any turn",
        "activities",
        (ORDERS_SQL, "    else false\nend;", "    else true\nend;"),
        (ORDERS_SQL, "    when 'unwinding' then next in (", "    when 'unwinding' then next not in ("),
    ),
    mutant(
        "books that do not balance are accepted",
        "activities",
        (CLOSED_SQL, "        if total.difference <> 0 then", "        if false then"),
    ),
    mutant(
        "what is booked can be rewritten",
        "activities",
        (
            LEDGER_SQL,
            "    before update or delete or truncate on ledger.entries",
            "    before truncate on ledger.entries",
        ),
    ),
    mutant(
        "the application may change the books",
        "activities",
        (
            ROLE_SQL,
            "    -- What was received is the warehouse's to say.",
            "    grant update on ledger.entries to ordersaga_worker;",
        ),
    ),
    mutant(
        "the starter may write orders",
        "activities",
        (
            ROLE_SQL,
            "    -- Where a parcel goes is put down once",
            "    grant update on orders.orders to ordersaga_starter;\n"
            "    -- Where a parcel goes is put down once",
        ),
    ),
    mutant(
        "whoever guesses a password never has to wait",
        "starter",
        (
            "starter-api/src/identity/attempts.rs",
            "                where known.wait_until <= now()",
            "                where known.wait_until is not null",
        ),
    ),
    mutant(
        "a reversal books the same side again",
        "domain",
        (LEDGER, "Entry { side: entry.side.opposite(), ..*entry }", "Entry { side: entry.side, ..*entry }"),
    ),
    mutant(
        "an Idempotency-Key is one for all customers",
        "domain",
        (
            "domain/src/ids.rs",
            'let name = format!("{customer}\\n{idempotency_key}");',
            'let name = format!("{}\\n{idempotency_key}", customer.as_str().len());',
        ),
    ),
    mutant(
        "tax is cut off instead of rounded",
        "domain",
        (
            "domain/src/money.rs",
            "RoundingStrategy::MidpointAwayFromZero",
            "RoundingStrategy::ToZero",
        ),
    ),
    mutant(
        "an order of a forgotten workflow is started again",
        "starter",
        (
            PLACE,
            "    if repeatable && let Some(stored) = store::find(&app.database, order_id).await? {",
            "    if repeatable\n        && false\n"
            "        && let Some(stored) = store::find(&app.database, order_id).await?\n    {",
        ),
    ),
]
