"""The bugs that are planted: each a believable mistake that breaks a promise.

An edit names a text that stands once in its file; one that is not there any more, or twice, is an
error, so that this list cannot fall behind the code unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass

SAGA = "saga/src/saga.rs"
ATTEMPT = "saga/src/attempt.rs"
ATTENTION = "saga/src/attention.rs"
PROGRESS = "saga/src/progress.rs"
FAILURE = "saga/src/failure.rs"
PROCESS = "workflows/src/order/mod.rs"
LEDGER = "domain/src/ledger.rs"
STATUS = "domain/src/status.rs"
FINGERPRINT = "domain/src/fingerprint.rs"
KEYS = "activities/src/idempotency.rs"
RECORD = "activities/src/orders.rs"
RECORD_SQL = "migrations/0040_on_record_before_launch.sql"
PAYMENT = "activities/src/payment.rs"
STOCK = "activities/src/stock.rs"
SHIPPING = "activities/src/shipping.rs"
BOOKS = "activities/src/ledger.rs"
LEDGER_SQL = "migrations/0007_ledger.sql"
CLOSED_SQL = "migrations/0030_closed_books.sql"
ROLE_SQL = "migrations/0014_two_roles.sql"
PLACE = "starter-api/src/app/orders/place.rs"
LAUNCHER = "starter-api/src/app/launch.rs"
LAUNCHES = "starter-api/src/app/orders/store/launches.rs"
CANCEL = "starter-api/src/app/orders/cancel.rs"
RECOVER = "worker/src/recover.rs"
TEMPORAL = "starter-api/src/temporal.rs"


@dataclass(frozen=True)
class Edit:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug, and the checks that may catch it, the nearest first."""

    name: str
    edits: tuple[Edit, ...]
    checks: tuple[str, ...]


def mutant(name: str, checks: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, tuple(Edit(*edit) for edit in edits), tuple(checks.split()))


PLANTED = [
    mutant(
        "an undo is registered after its step",
        "mechanism:every_outcome mechanism",
        (SAGA, "        saga.undos.push(Undo { step: A::CONTRACT.step, can_be_accepted, attempt });\n", ""),
        (
            SAGA,
            "        Declared { activity, argument }\n",
            "        let undo = Undo { step: A::CONTRACT.step, can_be_accepted, attempt };\n"
            "        saga.late.push(undo);\n"
            "        Declared { activity, argument }\n",
        ),
        (SAGA, "    undos: Vec<Undo<P>>,\n", "    undos: Vec<Undo<P>>,\n    late: Vec<Undo<P>>,\n"),
        (SAGA, "undos: Vec::new(), patience }", "undos: Vec::new(), late: Vec::new(), patience }"),
        (
            SAGA,
            "        let output = self.conclude(name, done)?;\n",
            "        let output = self.conclude(name, done)?;\n"
            "        if let Some(place) = self.late.iter().position(|undo| undo.step == name) {\n"
            "            self.undos.push(self.late.remove(place));\n"
            "        }\n",
        ),
    ),
    mutant(
        "what a lost run did is forgotten",
        "saga:a_cancel_that_overtakes saga",
        (
            SAGA,
            "        self.unless_cancelled(&forward)?;\n        self.mark(name, StepState::Running);",
            "        if forward.is_cancelled() {\n"
            "            let begun: Vec<_> = self.undos.iter().map(|undo| self.state_of(undo.step)).collect();\n"
            "            let mut begun = begun.into_iter();\n"
            "            self.undos.retain(|_| begun.next().flatten().is_some());\n"
            "        }\n"
            "        self.unless_cancelled(&forward)?;\n        self.mark(name, StepState::Running);",
        ),
    ),
    mutant(
        "undos run first to last",
        "mechanism:every_outcome mechanism",
        (
            SAGA,
            "while let Some(Undo { step, can_be_accepted, attempt }) = self.undos.pop() {",
            "while !self.undos.is_empty() {\n"
            "            let Undo { step, can_be_accepted, attempt } = self.undos.remove(0);",
        ),
    ),
    mutant(
        "a cancel reaches the undos",
        "mechanism:no_cancellation mechanism",
        (
            ATTEMPT,
            "            let token = until_decided(&ctx);\n"
            "            quick_then_patient(&ctx, activity, argument, None, &token).await",
            "            let token = ctx.state(|process| process.progress().forward());\n"
            "            quick_then_patient(&ctx, activity, argument, None, &token).await",
        ),
    ),
    mutant(
        "a broken undo is given up",
        "mechanism:a_broken_undo mechanism",
        (
            ATTENTION,
            "                Err(failure) => failure,\n            };\n            let step = self.step;",
            "                Err(StepFailure::Broken(_)) => return Done::Skipped,\n"
            "                Err(failure) => failure,\n            };\n            let step = self.step;",
        ),
    ),
    mutant(
        "what is broken is not tried again by itself",
        "mechanism:what_is_broken mechanism",
        (ATTENTION, "        let done = retry().await;", "        let done = None;\n        let _unused = &retry;"),
    ),
    mutant(
        "an unknown outcome is taken for a refusal",
        "mechanism:every_outcome mechanism",
        (
            SAGA,
            "            Err(StepFailure::NotOpen { .. }) => self.undos.clear(),",
            "            Err(StepFailure::Unknown(_)) => self.undos.retain(|undo| undo.step != name),\n"
            "            Err(StepFailure::NotOpen { .. }) => self.undos.clear(),",
        ),
    ),
    mutant(
        "a refused order is not unwound",
        "saga:a_step_that_is_refused saga",
        (PROCESS, "    match saga.unwind().await {", "    match Unwound::Undone {"),
    ),
    mutant(
        "a cancel that was accepted is forgotten when the step succeeds",
        "saga:a_cancel_that_is_accepted saga",
        (SAGA, "        self.unless_cancelled(&forward)?;\n        Ok(output)", "        Ok(output)"),
    ),
    mutant(
        "a cancel is accepted after the hand-over",
        "saga:once_the_parcel saga",
        (PROCESS, "if self.progress.is_past_return() || self.status.is_terminal() {", "if self.status.is_terminal() {"),
    ),
    mutant(
        "a decision decides whatever waits",
        "mechanism:a_broken_undo mechanism",
        (
            PROGRESS,
            "        if (waiting.step.as_str(), waiting.occurrence) != named {",
            "        if (waiting.step.as_str(), waiting.occurrence) != named && false {",
        ),
    ),
    mutant(
        "a parcel that has left can only be skipped",
        "saga:a_parcel_that_has_left saga",
        (ATTENTION, "*decision != Decision::AcceptAsDone || self.can_be_accepted", "*decision != Decision::AcceptAsDone"),
    ),
    mutant(
        "an order that is accepted as shipped is unwound all the same",
        "mechanism:what_counts_as_done saga",
        (SAGA, "                    return Unwound::AcceptedAsDone(step);", "                    continue;"),
    ),
    mutant(
        "a hint of a party restarts the patience",
        "mechanism:a_hint_does_not mechanism",
        (ATTEMPT, "limit.saturating_sub(waited().unwrap_or_default())", "limit"),
    ),
    mutant(
        "a cancel from the Web UI is not heard",
        "mechanism:cancel saga",
        (
            SAGA,
            "let forward = ctx.cancellation_token().child_token();",
            "let forward = WorkflowCancellationToken::new();",
        ),
    ),
    mutant(
        "that an order unwinds is noted as quickly as its end",
        "saga:what_was_done_is saga",
        (PROCESS, "note(ctx, NoteUnwinding, noted, false).await", "note(ctx, NoteUnwinding, noted, true).await"),
    ),
    mutant(
        "a person's retry is taken for a skip",
        "mechanism:a_broken_undo mechanism",
        (
            ATTENTION,
            "                        Decision::Retry => {}\n"
            "                        Decision::Skip => return Done::Skipped,",
            "                        Decision::Retry | Decision::Skip => return Done::Skipped,",
        ),
    ),
    mutant(
        "another run of an order ends it in its own way",
        "activities:the_first_ending_of activities",
        (RECORD_SQL, "    if known.ending is not null then\n", "    if false then\n"),
    ),
    mutant(
        "any run may take a completion back",
        "activities:only_the_run activities",
        (RECORD_SQL, "                and step_keys.run_id = the_run\n", "                and the_run is not null\n"),
    ),
    mutant(
        "a step that timed out counts as broken",
        "saga:a_step_whose_answer_never matrix",
        (
            FAILURE,
            'Some(FailureInfo::TimeoutFailureInfo(_)) => Self::Unknown("timed out".to_owned())',
            'Some(FailureInfo::TimeoutFailureInfo(_)) => Self::Broken("timed out".to_owned())',
        ),
    ),
    mutant(
        "the order is shipped before it is paid",
        "replay:the_histories_on_file replay",
        (PROCESS, "    saga.run(charge).await?;\n", ""),
        (PROCESS, "    saga.run(ship).await?;\n", "    saga.run(ship).await?;\n    saga.run(charge).await?;\n"),
    ),
    mutant(
        "a step's key is made anew for every attempt",
        "activities:a_charge_takes_the_money_once activities",
        (
            PAYMENT,
            "    let charge = order.charge();\n    match recorded {",
            "    let mut charge = order.charge();\n"
            "    charge.key.version = std::time::UNIX_EPOCH.elapsed()\n"
            "        .map_or(7, |since| since.subsec_micros());\n"
            "    match recorded {",
        ),
    ),
    mutant(
        "a refund leaves no tombstone",
        "activities:a_charge_that_comes_after activities",
        (PAYMENT, "    idempotency::leave_tombstone(db, charge.key).await?;\n", ""),
    ),
    mutant(
        "releasing stock leaves no tombstone",
        "activities:a_reservation_that_comes_after activities",
        (STOCK, "    idempotency::leave_tombstone(db, key).await?;\n", ""),
    ),
    mutant(
        "a reversal leaves no tombstone",
        "activities:a_posting_that_comes_after activities",
        (BOOKS, "    idempotency::leave_tombstone(db, key).await?;\n", ""),
    ),
    mutant(
        "recalling a parcel leaves no tombstone",
        "activities:a_parcel_that_comes_after activities",
        (SHIPPING, "    idempotency::leave_tombstone(db, parcel.key).await?;\n", ""),
    ),
    mutant(
        "an order that has ended is carried on",
        "activities:a_step_of_an_order_that_has_ended activities",
        (RECORD, "        Recorded::Open if is_terminal(&status)? => {", "        Recorded::Open if is_terminal(&status)? && false => {"),
    ),
    mutant(
        "a charge does not look for its tombstone before it captures",
        "activities:a_zombie_charge activities",
        (
            PAYMENT,
            "        Recorded::Undone => return take_back(db, provider, &charge).await,\n"
            "    }\n    match provider.capture",
            "        Recorded::Undone => {}\n    }\n    match provider.capture",
        ),
        (
            PAYMENT,
            "        Recorded::Undone => take_back(db, provider, &charge).await,\n"
            "        recorded @",
            "        Recorded::Undone => Err(idempotency::already_undone(key)),\n        recorded @",
        ),
    ),
    mutant(
        "a refund trusts the shop's memory instead of asking the provider",
        "activities:refunding_twice activities",
        (
            PAYMENT,
            "        PaymentState::Captured | PaymentState::Refunded => {\n"
            "            give_back(db, provider, charge, &reference).await\n",
            "        PaymentState::Captured | PaymentState::Refunded => {\n"
            "            let _unused = give_back(db, provider, charge, &reference);\n"
            "            Ok(())\n",
        ),
    ),
    mutant(
        "the reversal is missing",
        "activities:reversing_twice activities",
        (BOOKS, "            on conflict do nothing\n            returning transaction_id, order_id, reverses", "            limit 0\n            returning transaction_id, order_id, reverses"),
    ),
    mutant(
        "a sale that is booked late completes an order that is unwound",
        "activities:a_sale_that_is_booked_late activities",
        (BOOKS, "where order_id = $1 and ending is null\n            for no key", "where order_id = $1\n            for no key"),
    ),
    mutant(
        "an order that is accepted as shipped stays an unwound one",
        "activities:a_parcel_that_has_left_for_good activities",
        (SHIPPING, "select case when ending is null then version", "select case when ending is null or true then version"),
    ),
    mutant(
        "a reservation expires while its order only waits",
        "activities:goods_are_held_while activities",
        (STOCK, "greatest(now(), $8)", "least(now(), $8)"),
    ),
    mutant(
        "a reservation of a lost order stops the sweep",
        "activities:a_reservation_without_its_order activities",
        (STOCK, "            join orders.orders using (order_id)\n            where state = 'held'", "            where state = 'held'"),
    ),
    mutant(
        "a parcel that is accepted stays in the stock",
        "activities:a_parcel_that_is_accepted_after activities",
        (SHIPPING, "on reservation_key = $5 and state <> 'sold'", "on reservation_key = $5 and state = 'sold'"),
    ),
    mutant(
        "stock is read, and then written",
        "activities:of_two_buyers activities",
        (STOCK, "            order by sku for update\n        ), short as", "            order by sku\n        ), short as"),
    ),
    mutant(
        "what is short is sold all the same",
        "activities:one_short_article activities",
        (STOCK, "where quantity > coalesce(available, 0)\n", "where false and quantity > coalesce(available, 0)\n"),
    ),
    mutant(
        "goods are given back twice",
        "activities:releasing_twice activities",
        (
            STOCK,
            "where reservation_key = $1 and state = 'held'\n            returning reservation_key, order_id",
            "where reservation_key = $1 and state in ('held', 'released')\n"
            "            returning reservation_key, order_id",
        ),
    ),
    mutant(
        "a parcel is sent though its goods are not held",
        "activities:an_expired_reservation_is_not activities",
        (SHIPPING, "    if !goods.are_held {", "    if false {"),
        (
            SHIPPING,
            "case when exists (select from held) then $4::jsonb else $5 end",
            "case when true then $4::jsonb else $5 end",
        ),
    ),
    mutant(
        "orders wait for a locked article with a connection in hand",
        "activities:a_locked_article activities",
        (STOCK, "    let _turn = articles.turn(&order).await?;\n    let recorded = take", "    let _unused = articles;\n    let recorded = take"),
    ),
    mutant(
        "a party that says when to ask again is waited for in the workflow task",
        "mechanism:a_party_that_says mechanism",
        (ATTEMPT, "[REJECTED, BROKEN, NOT_OPEN, BUSY]", "[REJECTED, BROKEN, NOT_OPEN]"),
        (ATTEMPT, "Activity, BROKEN, BUSY, Contract,", "Activity, BROKEN, Contract,"),
    ),
    mutant(
        "an event's message is lost",
        "activities:every_event_has_its_message activities",
        (
            RECORD_SQL,
            "    insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)\n"
            "    values ('order', the_order::text, the_number, 'ordersaga.' || event_type || '.v1', event);\n",
            "",
        ),
    ),
    mutant(
        "a terminal status can be left",
        "activities:whatever_happens_to_an_order activities",
        (RECORD_SQL, "            when orders.is_terminal(known.status) then known.status_data\n", ""),
    ),
    mutant(
        "the database knows another transition of payments",
        "activities:the_database_has_the_same_state_machines activities",
        (RECORD_SQL, "    when 'paid' then next in ('partially-refunded', 'refunded', 'disputed')", "    when 'paid' then next in ('partially-refunded', 'refunded', 'disputed', 'voided')"),
    ),
    mutant(
        "an order is placed twice under one key",
        "activities:the_same_order_twice activities",
        (RECORD_SQL, "    on conflict (order_id) do nothing;\n    return found;", "    on conflict (order_id) do update set updated_at = excluded.updated_at;\n    return found;"),
    ),
    mutant(
        "a cancelled order is launched all the same",
        "activities:cancelled_before_its_launch activities",
        (RECORD_SQL, "    select order_id, 'reserve-stock', record_version, now()\n", "    select order_id, 'post-entries', record_version, now()\n"),
    ),
    mutant(
        "an unpublished message is swept",
        "activities:messages_are_removed activities",
        (RECORD_SQL, "select position from outbox.messages where published_at < now() - outbox_for", "select position from outbox.messages where created_at < now() - outbox_for"),
    ),
    mutant(
        "the same note of a run needs a person twice",
        "activities:the_same_note_twice activities",
        (RECORD_SQL, "    if found then\n        return answered;", "    if false then\n        return answered;"),
    ),
    mutant(
        "the starter may read how customers pay",
        "activities:rights:: activities",
        (RECORD_SQL, "        -- To launch an order is to see it,", "        grant usage on schema payments to ordersaga_starter;\n        grant select on payments.methods to ordersaga_starter;\n        -- To launch an order is to see it,"),
    ),
    mutant(
        "an event's times run against its numbers",
        "activities:an_events_time_follows activities",
        (RECORD_SQL, "    happened_at := clock_timestamp();", "    happened_at := now();"),
    ),
    mutant(
        "a fingerprint runs its fields together",
        "domain",
        (FINGERPRINT, "            self.0.update(part.len().to_string());\n", ""),
    ),
    mutant(
        "an order under way that needs a person looks cancellable for ever",
        "activities:projection:: activities",
        (STATUS, "            self.unwinding = false;\n            self.needs_attention = None;", "            self.unwinding = false;"),
    ),
    mutant(
        "books that do not balance are accepted",
        "activities:the_database_refuses activities",
        (CLOSED_SQL, "        if total.difference <> 0 then", "        if false then"),
    ),
    mutant(
        "what is booked can be rewritten",
        "activities:the_database_refuses activities",
        (
            LEDGER_SQL,
            "    before update or delete or truncate on ledger.entries",
            "    before truncate on ledger.entries",
        ),
    ),
    mutant(
        "the application may change the books",
        "activities:rights:: activities",
        (
            ROLE_SQL,
            "    -- What was received is the warehouse's to say.",
            "    grant update on ledger.entries to ordersaga_worker;",
        ),
    ),
    mutant(
        "the starter may write orders",
        "activities:rights:: activities",
        (
            ROLE_SQL,
            "    -- Where a parcel goes is put down once",
            "    grant update on orders.orders to ordersaga_starter;\n"
            "    -- Where a parcel goes is put down once",
        ),
    ),
    mutant(
        "whoever guesses a password never has to wait",
        "starter:an_account_that_is_guessed starter",
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
        "a stopped line launches all the same",
        "starter:while_the_line_is_stopped starter",
        (LAUNCHER, "!sight.is_stopped && self.take_due(sight.is_away).await", "self.take_due(sight.is_away).await"),
    ),
    mutant(
        "an order that waits for its launch cannot be cancelled",
        "starter:an_order_that_is_cancelled_before starter",
        (
            CANCEL,
            "    if store::cancel_before_launch(&app.database, order_id, &reason).await? {",
            "    if false {",
        ),
        (
            CANCEL,
            "    if store::cancel_before_launch(&app.database, order_id, &request.reason).await? {",
            "    if request.reason.is_empty() {",
        ),
    ),
    mutant(
        "orders are accepted however many wait",
        "starter:more_than_the_shop starter",
        (LAUNCHER, "if sight.waiting >= self.backlog_max {", "if sight.waiting > u64::MAX - self.backlog_max {"),
    ),
    mutant(
        "an order that recover found lost is taken for launched",
        "starter:an_order_whose_workflow_was_lost starter",
        (LAUNCHES, "            is_recovery: self.is_recovery,", "            is_recovery: false,"),
    ),
    mutant(
        "an order that has ended is launched",
        "starter:an_order_that_has_ended_is_not starter",
        (
            LAUNCHES,
            "            Some(true) => {\n                return Ok(Due::Ended(",
            "            Some(_) if terms_are_missing => {\n                return Ok(Due::Ended(",
        ),
        (LAUNCHES, "            Some(false) => {}\n", "            Some(_) => {}\n"),
        (
            LAUNCHES,
            "        match self.has_ended {\n",
            "        let terms_are_missing = self.terms.is_none();\n        match self.has_ended {\n",
        ),
    ),
    mutant(
        "one order that cannot be launched stops the others",
        "starter:an_order_that_cannot_be_launched starter",
        (
            LAUNCHER,
            "        let launching = rows.into_iter().map(|row| {",
            "        let Ok(due) = rows.into_iter().map(DueRow::read).collect::<Result<Vec<_>, _>>() else {\n"
            "            return false;\n"
            "        };\n"
            "        let launching = due.into_iter().map(|due| {",
        ),
        (
            LAUNCHER,
            "launcher.carry_out_due(row).await })",
            "match due {\n"
            "                Due::Launch(launch) => launcher.carry_out(&launch).await,\n"
            "                Due::Ended(ended) => launcher.no_longer_waits(ended),\n"
            "            } })",
        ),
    ),
    mutant(
        "recover leaves a run that knows more than the record",
        "recover:a_record_that_was_set_back recover",
        (RECOVER, "    Ok((!lacked.is_empty()).then_some(Behind { lacked, ending: view.ending }))", "    Ok(lacked.is_empty().then_some(Behind { lacked, ending: view.ending }).filter(|_| false))"),
    ),
    mutant(
        "recover forgets that an order was being unwound",
        "recover:a_record_that_was_set_back recover",
        (RECOVER, "    if let Some(ending) = ending {", "    if let Some(ending) = ending.filter(|_| false) {"),
    ),
    mutant(
        "recover leaves an order whose workflow is gone",
        "recover:whatever_a_lost recover",
        (RECOVER, "        Workflow::Missing if waits => return Ok(None),", "        Workflow::Missing => return Ok(None),"),
    ),
    mutant(
        "a missing column is taken for a bug in an order",
        "schema:what_a_database_lacks schema",
        ("runtime/src/database.rs", '            "42P01" | "42703" | "42883"', '            "42P01" | "42883"'),
    ),
    mutant(
        "a program too old for the database goes on",
        "schema:a_program_below schema",
        ("runtime/src/schema.rs", "filter(|minimum| known < *minimum)", "filter(|minimum| known.is_negative() && known < *minimum)"),
    ),
]
