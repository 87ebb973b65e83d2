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
TOLD = "workflows/src/told.rs"
LEDGER = "domain/src/ledger.rs"
STATUS = "domain/src/status.rs"
FINGERPRINT = "domain/src/fingerprint.rs"
KEYS = "activities/src/idempotency.rs"
RECORD = "activities/src/orders.rs"
RECORD_SQL = "migrations/0040_on_record_before_launch.sql"
PAYMENT = "activities/src/payment.rs"
STRIPE = "activities/src/payment/stripe.rs"
STRIPE_CLIENT = "activities/src/payment/stripe/client.rs"
SIGNATURES = "starter-api/src/identity/signatures.rs"
FAULT = "activities/src/fault.rs"
PAYMENTS = "activities/src/payment/store.rs"
PROTOCOL = "domain/src/payment.rs"
STOCK = "activities/src/stock.rs"
SHIPPING = "activities/src/shipping.rs"
SHIPMENTS = "activities/src/shipping/store.rs"
SHIPMENT_PROTOCOL = "domain/src/shipment.rs"
ANSWER = "activities/src/party/answer.rs"
BOOKS = "activities/src/ledger.rs"
GOODS_SQL = "migrations/0091_goods_by_their_index.sql"
WAITING_SQL = "migrations/0053_waiting_for_the_customer.sql"
REFUND = "domain/src/refund.rs"
REFUNDS = "activities/src/refunds.rs"
REFUND_SQL = "migrations/0060_refunds.sql"
DISPUTE = "domain/src/dispute.rs"
DISPUTES = "activities/src/disputes.rs"
DISPUTE_STORE = "activities/src/disputes/store.rs"
DISPUTE_SQL = "migrations/0062_disputes.sql"
REFUND_STORE = "activities/src/refunds/store.rs"
INBOX = "activities/src/inbox.rs"
INBOX_STORE = "activities/src/inbox/store.rs"
FEED = "activities/src/inbox/feed.rs"
INBOX_SQL = "migrations/0061_inbox.sql"
SIGNATURE = "starter-api/src/app/webhooks/signature.rs"
RECEIVE = "starter-api/src/app/webhooks/receive.rs"
OUTSIDE = "runtime/src/http/outside.rs"
ENDPOINT = "relay/src/webhooks/endpoint.rs"
ENDPOINT_SQL = "migrations/0081_webhook_endpoints.sql"
SCREENING = "domain/src/screening.rs"
FRAUD = "activities/src/fraud.rs"
SCREENING_SQL = "migrations/0063_screening.sql"
LEDGER_SQL = "migrations/0007_ledger.sql"
VARIANCE_SQL = "migrations/0104_no_empty_cost_variance.sql"
CLOSED_SQL = "migrations/0102_closed_sums.sql"
BALANCED_SQL = "migrations/0090_balanced_as_booked.sql"
ROLE_SQL = "migrations/0014_two_roles.sql"
PLACE = "starter-api/src/app/orders/place.rs"
LAUNCHER = "starter-api/src/app/launch.rs"
INTAKE = "starter-api/src/app/launch/intake.rs"
PLACER = "starter-api/src/app/orders/placer.rs"
LAUNCHES = "starter-api/src/app/orders/store/launches.rs"
CANCEL = "starter-api/src/app/orders/cancel.rs"
RESOLVE = "starter-api/src/app/orders/resolve.rs"
API_DISPUTES = "starter-api/src/app/disputes/store.rs"
RECOVER = "worker/src/recover.rs"
COUNTING = "worker/src/order_metrics.rs"
TEMPORAL = "starter-api/src/temporal.rs"
BODIES = "starter-api/src/http/extract.rs"
TEXTS = "starter-api/src/app/input.rs"
CONDITIONS = "starter-api/src/http/conditional.rs"
FRONTENDS = "runtime/src/temporal/frontends.rs"
WATCH = "starter-api/src/app/orders/watch.rs"
CONNECTION = "starter-api/src/serve/connection.rs"
GATE = "starter-api/src/http/rate_limit.rs"
GRAPHQL = "starter-api/src/graphql.rs"
DATABASE = "runtime/src/database.rs"
PARTY = "activities/src/party.rs"
GRPC = "starter-api/src/grpc.rs"
GRAPHQL_ORDER = "starter-api/src/graphql/order.rs"
CLI_REFUND = "cli/src/refund.rs"
PASSWORDS = "starter-api/src/identity/passwords.rs"
PROXIES = "starter-api/src/http/forwarded.rs"
HISTORY = "worker/src/replay/history.rs"
RECONCILIATION = "domain/src/reconciliation.rs"
RECONCILE = "activities/src/reconcile.rs"
STRIPE_LISTS = "activities/src/payment/stripe/lists.rs"
RECONCILED = "worker/src/prove/reconciled.rs"
BANK = "activities/src/payment/bank_transfer.rs"
BANK_RECORDS = "activities/src/payment/bank_transfer/records.rs"
BANK_IMPORT = "activities/src/payment/bank_transfer/import.rs"
BANK_LIST = "activities/src/payment/bank_transfer/list.rs"
BANK_XML = "activities/src/payment/bank_transfer/element.rs"
BANK_FILES = "activities/src/payment/bank_transfer/camt.rs"
BANK_SQL = "migrations/0065_bank_transfers.sql"
RECONCILE_STORE = "activities/src/reconcile/store.rs"
CLOSED_BY_SQL = "migrations/0070_closed_by_a_person.sql"
RULE_SETS_SQL = "migrations/0071_rule_sets_on_trial.sql"
RELAY_SQL = "migrations/0080_relay.sql"
RELAY_JUDGE = "relay/src/judge.rs"
RELAY_PARKING = "relay/src/parking.rs"
RELAY_PROGRESS = "relay/src/progress.rs"
RELAY_READER = "relay/src/reader.rs"
COUNTING_OUTBOX = "worker/src/order_metrics/outbox.rs"
WAVES = "relay/src/waves.rs"
KAFKA_SETTINGS = "relay/src/kafka.rs"
KAFKA = "relay/src/kafka/producer.rs"
MAIL_SQL = "migrations/0082_mail.sql"
MAIL_SINK = "relay/src/mail/sink.rs"
MAIL_STORE = "relay/src/mail/store.rs"
MAIL_FACTS = "relay/src/mail/facts.rs"
MAIL_SENDER = "relay/src/mail/sender.rs"
MAIL_TEMPLATES = "relay/src/mail/templates.rs"
SMTP = "relay/src/mail/smtp.rs"
PREVIEW = "relay/src/mail.rs"
AMQP = "relay/src/amqp/link.rs"
TOLD_SQL = "migrations/0084_told_anew.sql"
DELIVERED_SQL = "migrations/0085_delivered.sql"
LOGS = "worker/src/prove/logs.rs"
CONSUMED = "worker/src/prove/consumed.rs"
MAILS_PROVEN = "worker/src/prove/mails.rs"
PROOF_SCOPE = "worker/src/prove/scope.rs"
CONSUMER = "relay/examples/inbox/main.rs"
INVOICE = "domain/src/invoice.rs"
INVOICES = "relay/src/invoices.rs"
PDF = "relay/src/invoices/pdf.rs"
FACTUR_X = "relay/src/invoices/pdf/factur_x.rs"
SHEETS = "relay/src/invoices/pdf/sheets.rs"
INVOICES_SQL = "migrations/0083_invoices.sql"


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
        (SAGA, "        saga.undos.insert(position, Undo { step: A::CONTRACT.step, can_be_accepted, attempt });\n", "        let _unused = position;\n"),
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
            "        done.map_err(|failure| self.conclude(name, failure))\n",
            "        let output = done.map_err(|failure| self.conclude(name, failure))?;\n"
            "        if let Some(place) = self.late.iter().position(|undo| undo.step == name) {\n"
            "            self.undos.push(self.late.remove(place));\n"
            "        }\n"
            "        Ok(output)\n",
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
        (SAGA, "        self.unless_cancelled(&self.forward())?;\n        Ok(output)", "        Ok(output)"),
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
        (ATTEMPT, "rest(patience, begun, now)", "patience"),
    ),
    mutant(
        "a hint of a party restarts the time for invalid answers",
        "mechanism:a_hint_does_not mechanism",
        (ATTEMPT, "rest(doubt.limit, doubt.since, now)", "doubt.limit"),
    ),
    mutant(
        "an invalid answer is final at once",
        "mechanism:every_outcome mechanism",
        (FAILURE, "            BROKEN => Self::Broken(message.to_owned()),\n", "            BROKEN | INVALID_ANSWER => Self::Broken(message.to_owned()),\n"),
    ),
    mutant(
        "an answer that makes no sense to the end is taken for none",
        "mechanism:every_outcome mechanism",
        (ATTEMPT, "return Err(StepFailure::Broken(answer.message))", "return Err(StepFailure::Unknown(answer.message))"),
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
        (DELIVERED_SQL, "    if known.ending is not null then\n", "    if false then\n"),
    ),
    mutant(
        "any run may take a completion back",
        "activities:only_the_run activities",
        (REFUND_SQL, "            select from orders.step_keys\n            where step_keys.order_id = the_order and step = 'recognise-revenue'\n                and step_keys.run_id = the_run\n", "            select from orders.step_keys\n            where step_keys.order_id = the_order and step = 'recognise-revenue'\n                and the_run is not null\n"),
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
        (PROCESS, "        renewed(ctx, saga, held).await?;\n        saga.run(capture)", "        renewed(ctx, saga, held).await?;\n        saga.run(ship).await?;\n        saga.run(capture)"),
        (PROCESS, "    }\n    saga.run(ship).await?;\n", "    }\n"),
    ),
    mutant(
        "a step's key is made anew for every attempt",
        "activities:a_charge_takes_the_money_once activities",
        (
            PAYMENT,
            "    if let Some(taken) = attempt.let_go_of_the_one_before().await? {\n",
            "    attempt.charge.key.version = std::time::UNIX_EPOCH.elapsed()\n"
            "        .map_or(7, |since| since.subsec_micros());\n"
            "    if let Some(taken) = attempt.let_go_of_the_one_before().await? {\n",
        ),
    ),
    mutant(
        "the undo of an authorisation gives money back that a person has settled",
        "activities:the_undo_of_an_authorisation activities",
        (PROTOCOL, "    if matches!(call, Call::Refund) { Call::Finish } else { call }\n", "    call\n"),
    ),
    mutant(
        "a payment is replaced although its money was taken",
        "activities:a_payment_whose_money_a_lost_run activities",
        (
            PAYMENT,
            "                    PaymentState::Captured => {\n"
            "                        return idempotency::recall(self.db, key).await?.into_answer(key).map(Some);\n"
            "                    }\n"
            "                    PaymentState::Voided | PaymentState::Refunded => {}\n",
            "                    PaymentState::Captured | PaymentState::Voided | PaymentState::Refunded => {}\n",
        ),
    ),
    mutant(
        "a payment that cannot be voided yet counts as replaced",
        "activities:a_payment_that_cannot_be_voided activities",
        (PAYMENT, "                    PaymentState::Voided | PaymentState::Refunded => {}\n", "                    PaymentState::Authorised | PaymentState::Voided | PaymentState::Refunded => {}\n"),
        (PAYMENT, "                    | PaymentState::Declined\n                    | PaymentState::Authorised => {\n", "                    | PaymentState::Declined => {\n"),
    ),
    mutant(
        "a change of cost passes the books by",
        "activities:the_inventory_account activities",
        (VARIANCE_SQL, "perform ledger.book_inventory_change(\n                'cost-variance:'", "perform concat(\n                'cost-variance:'"),
    ),
    mutant(
        "goods that have become dearer leave at what they cost when they were ordered",
        "activities:the_inventory_account activities",
        (VARIANCE_SQL, "having sum(amount) <> 0", "having sum(amount) > 0"),
    ),
    mutant(
        "goods that have become cheaper leave at what they cost when they were ordered",
        "activities:the_inventory_account activities",
        (VARIANCE_SQL, "having sum(amount) <> 0", "having sum(amount) < 0"),
    ),
    mutant(
        "a refund leaves no tombstone",
        "activities:a_charge_that_comes_after activities",
        (PAYMENT, "                idempotency::leave_tombstone(self.db, self.key).await?;\n", ""),
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
        (SHIPPING, "                idempotency::leave_tombstone(self.db, self.parcel.key).await?;\n", ""),
    ),
    mutant(
        "an order that has ended is carried on",
        "activities:a_step_of_an_order_that_has_ended activities",
        (RECORD, "            if is_terminal(&self.status_data)? {", "            if is_terminal(&self.status_data)? && false {"),
    ),
    mutant(
        "a payment's id is stored although its undo came first",
        "activities:a_zombie activities",
        (
            PAYMENTS,
            "            on conflict do nothing\n            returning order_id",
            "            on conflict (order_id, step, version) do update set recorded_at = now()\n"
            "            returning step_keys.order_id",
        ),
    ),
    mutant(
        "an undo leaves the money where it is",
        "activities:refunding_twice activities",
        (PROTOCOL, "(Some(_), Known::Is(S::Captured)) => Call::Refund", "(Some(_), Known::Is(S::Captured)) => Call::RecordReturn"),
    ),
    mutant(
        "a payment is authorised before its id is stored",
        "payments activities",
        (PROTOCOL, "(Some(_), Known::Fresh) => Call::Store", "(Some(_), Known::Fresh) => Call::Authorise"),
    ),
    mutant(
        "an undo leaves a declined payment open",
        "payments activities",
        (PROTOCOL, "(Some(_), Known::Nothing | Known::Fresh) => Call::Finish", "(Some(_), Known::Nothing | Known::Fresh | Known::Is(S::Declined)) => Call::Finish"),
    ),
    mutant(
        "a parcel's label is bought before the shipment's id is stored",
        "shipments activities",
        (SHIPMENT_PROTOCOL, "(Some(_), Known::Fresh) => Call::Store", "(Some(_), Known::Fresh) => Call::Purchase"),
    ),
    mutant(
        "an undo leaves a drafted shipment as it is",
        "shipments activities",
        (SHIPMENT_PROTOCOL, "(Some(_), Known::Nothing | Known::Fresh) => Call::Finish", "(Some(_), Known::Nothing | Known::Fresh | Known::Is(S::Drafted)) => Call::Finish"),
    ),
    mutant(
        "a shipment's id is stored although its undo came first",
        "activities:a_zombie_parcel activities",
        (
            SHIPMENTS,
            "            on conflict do nothing\n            returning order_id",
            "            on conflict (order_id, step, version) do update set recorded_at = now()\n"
            "            returning step_keys.order_id",
        ),
    ),
    mutant(
        "a parcel is refused while its label is still valid",
        "shipments activities",
        (SHIPMENT_PROTOCOL, "(Some(_), Known::Is(S::Drafted | S::Purchased)) if is_refused => Call::Cancel", "(Some(_), Known::Is(S::Drafted | S::Purchased)) if is_refused => Call::RecordRefusal"),
    ),
    mutant(
        "a refund that is pending is taken for an answer",
        "activities:a_refund_that_is_pending activities",
        ("activities/src/payment/sandbox.rs", "        if told.is_refund_pending {", "        if false {"),
    ),
    mutant(
        "a proxy's page is read as the party's answer",
        "units:party::answer activities",
        (ANSWER, "        if !self.content_type.as_deref().is_some_and(is_json) {", "        if false {"),
    ),
    mutant(
        "an answer without end is read",
        "units:party::answer activities",
        (ANSWER, "        if self.body.len() > bytes_max {", "        if false && self.body.len() > bytes_max {"),
    ),
    mutant(
        "a party is left alone for as long as it likes",
        "units:party::answer activities",
        (ANSWER, "pause.min(PAUSE_MAX)", "pause"),
    ),
    mutant(
        "an order is refused while its customer can still approve the payment",
        "activities:a_payment_that_nobody_approves activities",
        (PROTOCOL, "Some(S::AwaitingCustomer) if time.is_over => Call::Void,", "Some(S::AwaitingCustomer) if time.is_over => Call::RecordRefusal,"),
    ),
    mutant(
        "a late approval finds a payment although the order was unwound",
        "payments activities",
        (PROTOCOL, "(Some(_), Known::Nothing | Known::Fresh) => Call::Finish", "(Some(_), Known::Nothing | Known::Fresh | Known::Is(S::AwaitingCustomer)) => Call::Finish"),
    ),
    mutant(
        "a declined payment may be replaced after its time",
        "activities:a_declined_payment_cannot activities",
        (WAITING_SQL, "    if charge.replaceable_until <= clock_timestamp() then", "    if false then"),
    ),
    mutant(
        "a replacement leaves the declined attempt to be answered",
        "activities:a_declined_payment_is_replaced activities",
        (WAITING_SQL, "jsonb_build_object('done', jsonb_build_object('replaced_by', charge.attempt + 1))", "null"),
    ),
    mutant(
        "a refund that was given up is carried out all the same",
        "activities:a_refund_that_is_given_up activities",
        (REFUNDS, "        RefundState::Failed | RefundState::Cancelled => return Err(given_up(key)),\n", "        RefundState::Failed | RefundState::Cancelled => {}\n"),
    ),
    mutant(
        "a refund that is being given up is asked for all the same",
        "activities:a_refund_that_is_being_given_up activities",
        (REFUNDS, "    if stored.is_given_up && stored.state.is_open() {", "    if false {"),
    ),
    mutant(
        "money that was given back is forgotten when its refund is given up",
        "activities:money_that_was_given_back activities",
        (REFUNDS, "        RefundState::Pending => Known::Unasked,\n", "        RefundState::Pending => Known::Nothing,\n"),
    ),
    mutant(
        "a refund that fails while it is asked for is taken for an answer without sense",
        "activities:a_refund_that_fails_while activities",
        (REFUNDS, "            Err(ProviderError::MovedOn) if self.has_moved_on => {", "            Err(ProviderError::MovedOn) => {"),
        (REFUNDS, "            Err(ProviderError::MovedOn) => {\n                self.has_moved_on = true;\n                Ok(())\n            }\n", ""),
    ),
    mutant(
        "the customer's link is in the history",
        "activities:the_customers_link activities",
        (PAYMENT, "            let (amount, provider_reference) = (self.charge.amount, id.0);\n", "            let link = approval.as_ref().map_or(id.0, |approval| approval.url.clone());\n            let (amount, provider_reference) = (self.charge.amount, link);\n"),
    ),
    mutant(
        "a payment that the undoing run does not know of is left",
        "activities:an_undo_that_knows activities",
        (PAYMENT, "    for attempt in store::later_attempts(db, key).await? {", "    for attempt in store::later_attempts(db, key).await?.into_iter().skip(9) {"),
    ),
    mutant(
        "a later payment is stored after the first one's undo",
        "activities:an_undo_that_knows activities",
        (PAYMENTS, "            where $2::text = $9 or exists (select from first)\n", "            where $2::text = $9 or true or exists (select from first)\n"),
        (PAYMENTS, "            $5::text is not null and exists (", "            $5::text is null and exists ("),
    ),
    mutant(
        "news does not end a wait for the customer",
        "mechanism:a_step_that_waits mechanism",
        (SAGA, "            |process| process.progress().hints(queue) != heard,", "            |process| process.progress().hints(queue) < heard,"),
    ),
    mutant(
        "a cancel does not end a wait for the customer",
        "mechanism:a_cancel_ends mechanism",
        (SAGA, "WaitConditionOptions::builder().cancellation_token(forward.clone()).build();", "WaitConditionOptions::builder().cancellation_token(round.clone()).build();"),
    ),
    mutant(
        "an attempt that is called off keeps its connection",
        "activities:called_off activities",
        ("activities/src/heartbeat.rs", "if !has_come_late => return", "if has_come_late => return"),
    ),
    mutant(
        "a party that an operator has stopped is called all the same",
        "activities:a_step_whose_party_is_stopped activities",
        (PARTY, "        if self.stopped_at.is_some() {\n            return Err((STOPPED_PAUSE", "        if self.stopped_at.is_some_and(|at| at > DateTime::<Utc>::MAX_UTC) {\n            return Err((STOPPED_PAUSE"),
    ),
    mutant(
        "the books are reversed before the money is back",
        "saga:while_a_refund_waits saga",
        (PROCESS, "    let post = saga.step(PostEntries, key(StepName::PostEntries)).undone_by(ReverseEntries);\n", ""),
        (PROCESS, "    let recognise =\n        saga.step(RecogniseRevenue", "    let post = saga.step(PostEntries, key(StepName::PostEntries)).undone_by(ReverseEntries);\n    let recognise =\n        saga.step(RecogniseRevenue"),
    ),
    mutant(
        "an authorisation expires unheeded",
        "saga:money_whose_authorisation saga",
        (PROCESS, "    left.is_some_and(|left| left < MARGIN)\n", "    left.is_some_and(|left| left < MARGIN) && now.is_none()\n"),
    ),
    mutant(
        "a step that is needed again is undone before all others",
        "mechanism:a_step_that_is_needed_again mechanism",
        (SAGA, "first.map_or(self.undos.len(), |first| first.saturating_add(1))", "first.map_or(self.undos.len(), |_first| self.undos.len())"),
    ),
    mutant(
        "the reversal is missing",
        "activities:reversing_twice activities",
        (BOOKS, "            on conflict do nothing\n            returning transaction_id, order_id, reverses", "            limit 0\n            returning transaction_id, order_id, reverses"),
    ),
    mutant(
        "a sale that is booked late completes an order that is unwound",
        "activities:of_a_sale_and_an_unwinding activities",
        (BOOKS, "where order_id = $1 and ending is null\n            for no key", "where order_id = $1\n            for no key"),
    ),
    mutant(
        "an order that is accepted as shipped stays an unwound one",
        "activities:a_parcel_that_has_left_for_good activities",
        (SHIPMENTS, "select case when ending is null then version", "select case when ending is null or true then version"),
    ),
    mutant(
        "a reservation expires while its order only waits",
        "activities:goods_are_held_while activities",
        (STOCK, "greatest(now(), $8)", "least(now(), $8)"),
    ),
    mutant(
        "a reservation of a lost order stops the sweep",
        "activities:a_reservation_without_its_order activities",
        (STOCK, "            join orders.orders using (order_id)\n            where state = 'held' and expires_at", "            where state = 'held' and expires_at"),
        (STOCK, "            join orders.orders using (order_id)\n            where state = 'held' and not exists", "            where state = 'held' and not exists"),
        (STOCK, "            for no key update of orders skip locked\n", ""),
    ),
    mutant(
        "an article in use stops the sweep",
        "activities:an_article_or_an_order_in_use activities",
        (STOCK, "            order by sku\n            for update skip locked\n        ), due as", "            order by sku\n            for update\n        ), due as"),
    ),
    mutant(
        "a parcel that is accepted stays in the stock",
        "activities:a_parcel_that_is_accepted_after activities",
        (GOODS_SQL, "where reservation_key = the_reservation and state <> 'sold'", "where reservation_key = the_reservation and state = 'sold'"),
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
        "a parcel is handed over while its payment is disputed",
        "activities:a_parcel_is_held activities",
        (SHIPPING, "        self.is_held = stored.is_payment_lost == Some(false);\n", ""),
    ),
    mutant(
        "a parcel is handed over though a dispute came while it was drafted",
        "activities:a_dispute_that_comes_while activities",
        (
            SHIPMENTS,
            "            where $9 or not exists (\n"
            "                select from payments.disputes\n"
            "                where disputes.order_id = $1 and (is_open and released_at is null or is_lost)\n"
            "            )\n",
            "            where $9 or true\n",
        ),
    ),
    mutant(
        "a payment that the customer keeps by a dispute is given back again",
        "activities:an_order_whose_payment_was_lost activities",
        (PAYMENT, "        if disputes::before_giving_back(self.db, &self.charge).await? == Standing::WithTheCustomer {", "        disputes::before_giving_back(self.db, &self.charge).await?;\n        if self.payment.is_none() {"),
    ),
    mutant(
        "a payment that a bank has is given back",
        "activities:a_payment_that_a_bank_has_is_given activities",
        (DISPUTES, "    if disputes.iter().any(|one| one.status.has_payment()) {\n", "    if false {\n"),
    ),
    mutant(
        "a payment that a bank has is refunded",
        "activities:a_payment_that_a_bank_has_is_not_given_back_by activities",
        (REFUNDS, "        if *is_disputed {", "        if *is_disputed && false {"),
    ),
    mutant(
        "an operator is not asked anew when a question becomes a dispute",
        "activities:somebody_who_has_dealt activities",
        (DISPUTE_STORE, "known.status = excluded.status then known.asked_at else excluded.asked_at end", "known.status is not null then known.asked_at else excluded.asked_at end"),
    ),
    mutant(
        "a dispute that is won after it was lost leaves its order refunded",
        "activities:what_is_lost_is_written_off activities",
        (DISPUTES, "    let is_the_shops_again = known.was_lost && !is_lost;", "    let is_the_shops_again = false;"),
    ),
    mutant(
        "a parcel is sent though its goods are not held",
        "activities:an_expired_reservation_is_not activities",
        (SHIPPING, "        if !stored.are_goods_held {", "        if false {"),
        (
            SHIPMENTS,
            "            where reservation_key = $5 and state = 'held'\n            for update",
            "            where reservation_key = $5\n            for update",
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
        (ATTEMPT, "[REJECTED, BROKEN, NOT_OPEN, BUSY, INVALID_ANSWER]", "[REJECTED, BROKEN, NOT_OPEN, INVALID_ANSWER]"),
        (ATTEMPT, "Activity, BROKEN, BUSY, Contract,", "Activity, BROKEN, Contract,"),
    ),
    mutant(
        "an answer that makes no sense counts as a bug of our own",
        "activities:an_answer_that_makes_no_sense activities",
        (FAULT, "InvalidAnswer { doing, source, .. } if ask_again_for.is_zero() => {", "InvalidAnswer { doing, source, .. } if ask_again_for < Duration::MAX => {"),
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
        (TOLD_SQL, "        when orders.is_terminal(status) then known.status_data\n", ""),
    ),
    mutant(
        "the database knows another transition of payments",
        "activities:the_database_has_the_same_state_machines activities",
        (DISPUTE_SQL, "    when 'paid' then next in ('partially-refunded', 'refunded', 'disputed')", "    when 'paid' then next in ('partially-refunded', 'refunded', 'disputed', 'voided')"),
    ),
    mutant(
        "refunds may come to more than was captured",
        "activities:however_many_refunds activities",
        (REFUND_SQL, "check (refund_claimed between 0 and captured)", "check (refund_claimed >= 0)"),
    ),
    mutant(
        "two refunds of an order are under way at once",
        "activities:of_twenty_requests activities",
        (REFUND_SQL, "        when before.is_under_way then 'under-way'\n", ""),
        (REFUND_SQL, "create unique index refund_requests_one_under_way", "create index refund_requests_one_under_way"),
    ),
    mutant(
        "an order of which a refund was asked for is taken back",
        "activities:an_order_of_which_a_refund activities",
        (REFUND_SQL, " and not exists (\n            select from payments.refund_requests\n            where refund_requests.order_id = the_order\n        )", ""),
    ),
    mutant(
        "a refund that was on its way ends a dispute in the database",
        "activities:whatever_happens_to_an_order activities",
        (TOLD_SQL, "        when event_type = 'order.refund-succeeded' and known.payment_status = 'disputed'\n        then known.payment_status\n", ""),
    ),
    mutant(
        "a dispute that somebody has dealt with is dealt with again",
        "activities:somebody_who_has_dealt activities",
        (DISPUTE_SQL, "        and disputes.is_open and disputes.released_at is null\n", "        and disputes.is_open\n"),
    ),
    mutant(
        "an order is placed twice under one key",
        "activities:the_same_order_twice activities",
        (TOLD_SQL, "    on conflict (order_id) do nothing;\n    return found;", "    on conflict (order_id) do update set updated_at = excluded.updated_at;\n    return found;"),
    ),
    mutant(
        "a cancelled order is launched all the same",
        "activities:cancelled_before_its_launch activities",
        (RECORD_SQL, "    select order_id, 'reserve-stock', record_version, now()\n", "    select order_id, 'post-entries', record_version, now()\n"),
    ),
    mutant(
        "an unpublished message is swept",
        "activities:messages_are_removed activities",
        (RELAY_SQL, "select position from outbox.messages where published_at < now() - kept_for", "select position from outbox.messages where created_at < now() - kept_for"),
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
        (BALANCED_SQL, "        if touched.difference <> 0 then", "        if false then"),
    ),
    mutant(
        "the books are closed while a transaction is running",
        "activities:while_a_booking_is_under_way activities",
        (
            CLOSED_SQL,
            "        lock table ledger.transactions in share mode;",
            "        lock table ledger.transactions in access share mode;",
        ),
    ),
    mutant(
        "a transaction is booked in closed books",
        "activities:what_would_be_booked activities",
        (
            CLOSED_SQL,
            "    where transaction_id <= coalesce(",
            "    where transaction_id < 1 and transaction_id <= coalesce(",
        ),
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
        "an older snapshot of a dispute counts",
        "domain:in_whatever_order domain",
        (DISPUTE, "known.is_none_or(|known| facts.age() > known.age())", "known.is_none_or(|known| *facts != DisputeFacts { status: known.status, ..facts.clone() })"),
    ),
    mutant(
        "a dispute that was lost and is won after all stays lost in the books",
        "domain:the_books_say_who_has_the_money domain",
        (DISPUTE, "        DisputeStatus::Won | DisputeStatus::WarningClosed => !reinstated.is_zero(),", "        DisputeStatus::Won | DisputeStatus::WarningClosed => false,"),
        (DISPUTE, "        (MovementKind::Recovered, booked.checked_sub(lost)?)", "        (MovementKind::Recovered, lost)"),
    ),
    mutant(
        "a fee of a dispute is booked as money that may come back",
        "domain:the_books_say_who_has_the_money domain",
        (DISPUTE, "            Self::Fee => (Account::DisputeFees, Account::PaymentClearing),", "            Self::Fee => (Account::DisputedPayments, Account::PaymentClearing),"),
    ),
    mutant(
        "a mere question of the bank's counts as a payment taken back",
        "domain:a_payment_is_disputed domain",
        (DISPUTE, "            Self::NeedsResponse | Self::UnderReview => true,\n            Self::WarningNeedsResponse\n            | Self::WarningUnderReview\n", "            Self::NeedsResponse\n            | Self::UnderReview\n            | Self::WarningNeedsResponse\n            | Self::WarningUnderReview => true,\n            Self::Lost\n"),
    ),
    mutant(
        "refunds lose what is cut off from their parts",
        "domain",
        (REFUND, "        *share = share.checked_add(1)?;\n", "        *share = share.checked_add(0)?;\n"),
    ),
    mutant(
        "a refund is given up without a look at the provider",
        "refunding domain",
        (
            REFUND,
            "pub const fn withdraw(known: Known) -> Call {\n    match known {\n        Known::Unasked => Call::LookUp,\n",
            "pub const fn withdraw(known: Known) -> Call {\n    match known {\n        Known::Unasked => Call::RecordEnd,\n",
        ),
    ),
    mutant(
        "a refund that failed is waited for without end",
        "domain",
        (REFUND, "        Known::Is(AtProvider::Failed, false) => Call::Tell,\n", "        Known::Is(AtProvider::Failed, false) => Call::Wait,\n"),
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
        (LAUNCHER, "!sight.is_stopped && self.take_due(most).await", "self.take_due(most).await"),
    ),
    mutant(
        "a burst of orders is launched as it comes in",
        "starter:while_a_burst_comes_in starter",
        (LAUNCHER, "(false, true) => FEW,", "(false, true) => BATCH,"),
    ),
    mutant(
        "orders that keep coming fast are never launched",
        "units:launching_makes_way_for_a_minute units",
        (INTAKE, "            self.is_spent = self.left.is_zero();\n", "            self.is_spent = false;\n"),
    ),
    mutant(
        "an order that the database refuses has those beside it refused",
        "starter:an_order_that_the_database_refuses starter",
        (PLACER, "Err(error) if is_about_one(&error) && placements.len() > 1 => {", "Err(error) if is_about_one(&error) && placements.is_empty() => {"),
    ),
    mutant(
        "an operator who repeats a decision is refused",
        "starter:a_stuck_order_is_found starter",
        (RESOLVE, "        && !store::is_decided(&app.database, order_id, &resolution).await?\n", ""),
    ),
    mutant(
        "another operator's decision counts as a repeat",
        "starter:an_operator_deals_with starter",
        (API_DISPUTES, " and released_by = $3 and released_why = $4", " and released_why = $4"),
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
        "recover does not say whose record was set back",
        "recover:a_record_that_was_set_back recover",
        (RECOVER, "    note_set_back(pool, order).await?;\n    if let", "    if let"),
        (RECOVER, "async fn note_set_back(", "pub async fn note_set_back("),
    ),
    mutant(
        "an undo takes a record that was set back for all that was paid",
        "activities:what_a_lost_run_has_taken activities",
        (
            PAYMENT,
            "        if self.id.is_none() && !is_undone && !self.charge.amount.is_zero() {",
            "        if self.id.is_none() && !is_undone && self.charge.amount.is_zero() {",
        ),
    ),
    mutant(
        "an undo takes a record that was set back for all that was handed over",
        "activities:what_a_lost_run_has_handed_over activities",
        (SHIPPING, "            if self.id.is_some() {\n                self.store(true)", "            if self.id.is_none() {\n                self.store(true)"),
    ),
    mutant(
        "a dispute hides a parcel that the record has lost",
        "activities:a_parcel_that_the_record_has_lost activities",
        (SHIPPING, "self.store(true).await?;", "self.store(false).await?;"),
    ),
    mutant(
        "recover leaves an order whose workflow is gone",
        "recover:whatever_a_lost recover",
        (RECOVER, "        Workflow::Missing if waits => return Ok(None),", "        Workflow::Missing => return Ok(None),"),
    ),
    mutant(
        "a missing column is taken for a bug in an order",
        "schema:what_a_database_lacks schema",
        (DATABASE, '            "42P01" | "42703" | "42883"', '            "42P01" | "42883"'),
    ),
    mutant(
        "a program too old for the database goes on",
        "schema:a_program_below schema",
        ("runtime/src/schema.rs", "filter(|minimum| known < *minimum)", "filter(|minimum| known.is_negative() && known < *minimum)"),
    ),
    mutant(
        "a frontend that hangs gets its share of calls",
        "units:calls_go_in_turn units",
        (FRONTENDS, "find(|place| serving[*place])", "find(|place| serving.get(*place).is_some())"),
    ),
    mutant(
        "a call waits for a frontend that hangs though another one answers",
        "units:a_call_is_given_up units",
        (FRONTENDS, "!serving[place] && serving.contains(&true)", "!serving[place] && serving.is_empty()"),
    ),
    mutant(
        "a text that is too long is cut off",
        "units:a_text_is_taken_whole units",
        (
            "domain/src/text.rs",
            "    if text.chars().nth(length_max.saturating_mul(4)).is_some() {\n"
            "        return Err(NotALine { length_max });\n    }\n",
            "    let text = &text.chars().take(length_max.saturating_mul(4)).collect::<String>();\n",
        ),
    ),
    mutant(
        "the refusal of a body repeats a card number",
        "units:a_body_that_cannot_be_read units",
        (BODIES, 'message.rsplit_once(", expected ")', 'message.split_once(", expected ")'),
    ),
    mutant(
        "a condition that cannot be read is handed on",
        "units:a_condition_that_cannot_be_read units",
        (CONDITIONS, "if !request.get_all(name).iter().all(are_tags) {", "if request.get_all(name).iter().count() > 9 {"),
    ),
    mutant(
        "a moment may lie after the year 9999",
        "units:a_moment_is_one units",
        (TEXTS, "(0..=9_999).contains(&it.year())", "it.year() >= 0"),
    ),
    mutant(
        "an order that needs a person is counted as unwinding",
        "counting:open_orders counting",
        (COUNTING, "when attention is not null then 'needs-attention'", "when attention is not null and ending is null then 'needs-attention'"),
    ),
    mutant(
        "published messages are counted as waiting",
        "counting:messages_that counting",
        (COUNTING_OUTBOX, "select created_at from outbox.messages where published_at is null", "select created_at from outbox.messages where created_at is not null"),
    ),
    mutant(
        "a pool that gives no connection is not seen",
        "watch:a_pool_is_seen watch",
        ("runtime/src/database/watch.rs", 'counter!(PROBES_FAILED, "pool" => name).increment(1);', 'counter!(PROBES_FAILED, "pool" => name).increment(0);'),
    ),
    mutant(
        "a statement that was dropped half-way keeps the next one waiting",
        "connections:a_statement_that_is_dropped connections",
        ("runtime/src/database/connections.rs", "    drop(Object::take(connection));\n", "    drop(connection);\n"),
    ),
    mutant(
        "a connection that the server has ended is lent again",
        "connections:a_statement_whose_backend connections",
        ("runtime/src/database/connections.rs", "error.severity() == PgSeverity::Error", "error.severity().is_error()"),
    ),
    mutant(
        "an alert watches a series that nobody exposes",
        "cli:whatever_is_watched cli",
        ("observability/alerts.yaml", "time() - max(ordersaga_counted_timestamp_seconds)", "time() - max(ordersaga_counted_at_seconds)"),
    ),
    mutant(
        "an end that another run has noted is counted again",
        "activities:an_order_ends_once_however_often activities",
        (RECORD, "if noted.had_ended == Some(false) {", "if noted.had_ended.is_some() {"),
    ),
    mutant(
        "a payment that is not found is waited for without end",
        "units:what_is_not_found activities:a_payment_that_is_not_found units",
        (PARTY, "if error.is_not_found() && age < self.may_lag {", "if error.is_not_found() && age < Duration::MAX {"),
    ),
    mutant(
        "a shipment that the carrier called off is told as undeliverable",
        "activities:a_shipment_that_the_carrier activities",
        (SHIPPING, "unwrap_or(Rejection::CancelledByCarrier)", 'unwrap_or_else(|| self.undeliverable("the carrier has called the shipment off"))'),
    ),
    mutant(
        "an array is read in the place of an object",
        "units:an_array_is_no_object units",
        ("domain/src/json.rs", "self.0.deserialize_map(Objects(visitor))\n    }\n\n    fn is_human", "self.0.deserialize_struct(_name, _fields, Objects(visitor))\n    }\n\n    fn is_human"),
    ),
    mutant(
        "a supplier's list has names that no search finds",
        "units:a_name_is_the_same units",
        ("worker/src/catalogue_file.rs", "line_of_text(text, NAME_LENGTH_MAX)", "domain::line_as_written(text, NAME_LENGTH_MAX)"),
    ),
    mutant(
        "one caller may take all waits",
        "starter:one_caller_does_not_take_the_waits starter",
        (PLACE, "app.waits.take(self.turn.callers(caller))", "app.waits.take([None, None])"),
    ),
    mutant(
        "one caller may take all streams",
        "starter:one_caller_does_not_take_the_streams starter",
        (WATCH, "app.streams.take(turn.callers(caller))", "app.streams.take([None, None])"),
    ),
    mutant(
        "whoever waits keeps the place of its request",
        "starter:those_who_wait_for_an_order starter",
        (PLACE, "        self.turn.give_up();\n", ""),
    ),
    mutant(
        "whoever waits goes on waiting when the process ends",
        "starter:those_who_wait_for_an_order starter",
        (
            PLACE,
            "app.leaving.run_until_cancelled(sleep(pause.min(left)));",
            "async { Some(sleep(pause.min(left)).await) };",
        ),
    ),
    mutant(
        "a body that is half sent has a place",
        "starter:half_sent_bodies starter",
        (
            GATE,
            "        let (mut request, memory) = self.reception.receive(request, address).await?;\n",
            "        let early = self.places.take([address.map(Who::Address), None]);\n"
            "        let (mut request, memory) = self.reception.receive(request, address).await?;\n"
            "        drop(early);\n",
        ),
    ),
    mutant(
        "one address may have all memory for bodies",
        "units:all_bodies_together units",
        (
            "starter-api/src/http/receive.rs",
            "self.memory.take_many(bytes, [address.map(Who::Address), None]);",
            "self.memory.take_many(bytes, [address.map(Who::Address).filter(|_| false), None]);",
        ),
    ),
    mutant(
        "one address may have all passwords checked",
        "units:one_address_has_only_so_many_passwords units",
        (GATE, "    is_write && has_secret\n", "    is_write && has_secret && route.is_none()\n"),
    ),
    mutant(
        "streams of gRPC's own are not counted",
        "starter:one_address_has_only_so_many_streams starter",
        (GATE, "let endless = is_endless(request).then(", "let endless = (!is_endless(request)).then("),
    ),
    mutant(
        "the queries of one caller keep those of others waiting",
        "units:one_caller_does_not_keep units",
        (GRAPHQL, "self.queries.take(callers)", "self.queries.take([None, None])"),
    ),
    mutant(
        "a connection that asks nothing is kept",
        "starter:whoever_asks_nothing starter",
        (CONNECTION, "later(known.quiet_since, limit)", "later(now, limit)"),
    ),
    mutant(
        "a short answer need not be read",
        "starter:whoever_lets_nothing_be_sent starter",
        (
            CONNECTION,
            "        // Of the last part, too: the answer is dropped once that is on its way.\n"
            "        self.request.unread_since(Some(Instant::now()));\n",
            "        if !self.is_end_stream() {\n"
            "            self.request.unread_since(Some(Instant::now()));\n"
            "        }\n",
        ),
    ),
    mutant(
        "a query's fragments may multiply",
        "units:fragments_that_double starter:a_question_that_multiplies",
        (
            "starter-api/src/graphql/size.rs",
            "    if size > SELECTIONS_MAX {",
            "    if size == usize::MAX {",
        ),
    ),
    mutant(
        "what a query asks the database for costs nothing by itself",
        "starter:a_question_that_multiplies starter",
        (
            GRAPHQL,
            "100 + usize::from(first) * (1 + child_complexity)",
            "usize::from(first) * child_complexity",
        ),
    ),
    mutant(
        "a path that a caller invents is a label of metrics",
        "starter:what_callers_invent starter",
        (
            "starter-api/src/http/observe.rs",
            'map_or("none", MatchedPath::as_str)',
            "map_or(request.uri().path(), MatchedPath::as_str)",
        ),
    ),
    mutant(
        "an address with a port is none",
        "units:an_address_is_read units",
        ("starter-api/src/http/forwarded.rs", "return Some(address.ip());", "return None;"),
    ),
    mutant(
        "a form-encoded secret is taken as it is sent",
        "starter:a_secret_is_read starter",
        (
            "starter-api/src/http/identity/token.rs",
            "decoded.filter(|decoded| *decoded != as_sent)",
            "decoded.filter(|decoded| *decoded == as_sent)",
        ),
    ),
    mutant(
        "an export mixes the books of two moments",
        "export:what_is_booked_meanwhile export",
        ("worker/src/export.rs", '"begin isolation level repeatable read, read only"', '"begin read only"'),
    ),
    mutant(
        "an export is written over the books of before",
        "export:a_file_keeps_what_it_held export",
        ("worker/src/export/file.rs", 'path.with_file_name(format!(".{name}.{}.partial", process::id()))', 'path.with_file_name(&*name)'),
    ),
    mutant(
        "beancount is told to let a cent pass",
        "units:the_books_as_a_beancount units",
        ("worker/src/export/beancount.rs", "{amount:>14} ~ 0 {currency}", "{amount:>14} {currency}"),
    ),
    mutant(
        "an order that is cancelled without end takes no decision",
        "saga:an_order_that_is_cancelled_without_end saga",
        (PROCESS, "        if !self.progress.takes(CANCEL) {", "        if !self.progress.takes(CANCEL) && self.status.is_terminal() {"),
    ),
    mutant(
        "messages push out of the timeline what has happened",
        "saga:an_order_that_is_cancelled_without_end saga",
        (TOLD, "    if progress.take(TOLD) {", "    if progress.take(TOLD) || !line.is_empty() {"),
    ),
    mutant(
        "an order that is unwound is carried on",
        "activities:a_step_of_an_order_that_is_unwound activities",
        (RECORD, "            if self.is_unwinding {", "            if self.is_unwinding && false {"),
    ),
    mutant(
        "what a restart leaves of a connection is taken for a bug in an order",
        "units:what_passes_by_itself units",
        ("runtime/src/database.rs", "                | Error::Protocol(_)\n", ""),
    ),
    mutant(
        "every repeat of a cancel that waits for a worker is kept",
        "starter:a_cancel_that_no_worker_answers starter",
        (TEMPORAL, 'payload, once("cancel".to_owned())', "payload, WorkflowSignalOptions::default()"),
    ),
    mutant(
        "a lock that is not had in time is taken for a bug in an order",
        "units:what_passes_by_itself units",
        (DATABASE, '            "55P03" | "55006"', '            "55006"'),
    ),
    mutant(
        "a program that has gone away keeps its locks",
        "units:a_connection_asks_for_each_limit units",
        (DATABASE, '            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),\n', ""),
    ),
    mutant(
        "settings that a pooler drops are not missed",
        "schema:settings_that_do_not schema",
        ("runtime/src/schema.rs", "check_settings(&mut connection, settings.get_options().unwrap_or_default())", "check_settings(&mut connection, settings.get_options().map_or(\"\", |_| \"\"))"),
    ),
    mutant(
        "hints are acted on without end",
        "units:hints_beyond_the_limit units",
        (PROGRESS, "        let acted_on = *hints < HINTS_MAX;", "        let acted_on = *hints < u32::MAX.max(HINTS_MAX);"),
    ),
    mutant(
        "a party that does not answer is called for ever",
        "units:ten_calls_in_a_row units",
        (PARTY, "            Self::Closed { .. } => Self::open_for(PAUSE_MIN, now),", "            Self::Closed { .. } => Self::CLOSED,"),
    ),
    mutant(
        "a party is left alone because an answer makes no sense",
        "units:a_carrier_that_refuses units",
        ("activities/src/party/guarded.rs", "            | Self::HasLeft\n            | Self::InvalidAnswer(_) => false,", "            | Self::HasLeft => false,\n            Self::InvalidAnswer(_) => true,"),
    ),
    mutant(
        "money is taken before the cancel window whatever was agreed",
        "saga:money_is_taken_before_or_after saga",
        (PROCESS, "    } else if order.capture_at == CaptureAt::Placement {", "    } else if order.capture_at == CaptureAt::Placement || !order.is_free {"),
    ),
    mutant(
        "an order that costs nothing is charged",
        "saga:an_order_that_costs_nothing saga",
        (PROCESS, "    if order.is_free {", "    if order.is_free && order.is_unwinding {"),
    ),
    mutant(
        "an order does not say that its party is stopped",
        "activities:a_step_whose_party_is_stopped activities",
        (FAULT, 'Some(why) => format!("{message}: {why}"),', "Some(_why) => message,"),
    ),
    mutant(
        "more is given back than was taken",
        "activities:a_part_of_what_is_set_aside activities",
        (PAYMENT, "self.payment.as_ref().map_or(self.charge.amount, |payment| payment.captured)\n", "self.payment.as_ref().map_or(self.charge.amount, |_payment| self.charge.amount)\n"),
    ),
    mutant(
        "all of a payment is told as taken although a part was",
        "activities:where_a_part_was_taken activities",
        (PAYMENT, "            let moved = store::moved(self.captured(), &id);\n", "            let moved = store::moved(self.charge.amount, &id);\n"),
    ),
    mutant(
        "a note of a run that was reset is taken for another run's",
        "activities:a_note_that_a_person_is_needed activities",
        (RECORD, '        format!("attention:{run_id}:{number}"),', '        format!("attention:{}:{number}", run_id.len()),'),
    ),
    mutant(
        "a list that is loaded again takes an operator's prices back",
        "activities:loading_again_adds activities",
        ("activities/src/catalogue.rs", "        where $6 and (known.name,", "        where ($6 or true) and (known.name,"),
    ),
    mutant(
        "an order placed at the same moment as another is in no page",
        "starter:pages_of_orders starter",
        (
            "starter-api/src/app/orders/store/pages.rs",
            "or order_id > $2)\n             and placed_at >= coalesce($4,",
            "or order_id > $2 and false)\n             and placed_at >= coalesce($4,",
        ),
    ),
    mutant(
        "a page does not say where its scan ended",
        "starter:a_page_without_an_index starter",
        (
            "starter-api/src/app/orders/store/pages.rs",
            "let looked_through = if is_full {",
            "let looked_through = if is_full || true {",
        ),
    ),
    mutant(
        "a balance leaves out the sums of the closed books",
        "starter:books_that_are_closed starter",
        ("starter-api/src/app/ledger/balance.rs", "    Ok([sums, since])", "    drop(sums);\n    Ok([Vec::new(), since])"),
    ),
    mutant(
        "a status that is given twice ends the list early",
        "starter:pages_of_several_statuses starter",
        ("starter-api/src/app/orders/filter.rs", "        names.sort_unstable();\n        names.dedup();\n", "        names.sort_unstable();\n"),
    ),
    mutant(
        "customers see the disputes of their banks",
        "starter:staff_see_the_disputes starter",
        ("starter-api/src/app/disputes.rs", "    if !caller.has(Scope::ReadDisputes) {", "    if caller.name().is_empty() {"),
    ),
    mutant(
        "a dispute that waits for an answer is not among what waits for a person",
        "starter:what_has_to_be_answered starter",
        ("starter-api/src/app/attention/store.rs", "where asked_at is not null and (orders.in_utc(asked_at)", "where asked_at is null and (orders.in_utc(asked_at)"),
    ),
    mutant(
        "an endpoint that was given up is not among what waits for a person",
        "starter:whatever_waits_is_listed starter",
        ("starter-api/src/app/attention/store.rs", "where disabled_because in ('gone', 'failing')", "where disabled_because in ('gone')"),
    ),
    mutant(
        "what was refused waits for a person whatever they have decided",
        "starter:what_somebody_has_dealt_with starter",
        ("starter-api/src/app/attention/store.rs", "where refused is not null and decision is null", "where refused is not null"),
    ),
    mutant(
        "a set of rules that is tried out decides",
        "activities:a_set_that_is_tried_out activities",
        (
            RULE_SETS_SQL,
            "select known.version, known.rules, known.version = active.rule_set as is_active",
            "select known.version, known.rules, known.version = (select max(version) from fraud.rule_sets) as is_active",
        ),
    ),
    mutant(
        "a set that has counted before is tried out",
        "activities:a_set_that_is_tried_out activities",
        (RULE_SETS_SQL, "where before.rule_set = known.version", "where before.rule_set = known.version and false"),
    ),
    mutant(
        "rules that are tried out look back no further than those that count",
        "activities:a_set_that_is_tried_out activities",
        (FRAUD, "    windows.extend(shadow.iter().flat_map(|tried| tried.set.windows()));\n", ""),
    ),
    mutant(
        "rules that nobody can be counted by are brought in",
        "domain:a_set_that_can_be_read domain",
        (SCREENING, "!(1..=WINDOW_SECONDS_MAX).contains(&seconds)", "seconds > WINDOW_SECONDS_MAX"),
    ),
    mutant(
        "a trial tells of orders that it was not tried out on",
        "starter:what_a_set_would_have starter",
        (
            "starter-api/src/app/screening/rule_sets.rs",
            "select * from fraud.trials where rule_set = $1 order",
            "select * from fraud.trials where rule_set >= $1 order",
        ),
    ),
    mutant(
        "differences that somebody has settled are counted as open",
        "counting:differences_that_nobody counting",
        (COUNTING, "from finance.differences where closed_at is null and settled_at is null", "from finance.differences where closed_at is null"),
    ),
    mutant(
        "what a person has settled is told again with every comparison",
        "activities:what_a_person_has_settled activities",
        (
            RECONCILE_STORE,
            "where closed_at is null and settled_at is null\n        order by difference_id limit 1000",
            "where closed_at is null\n        order by difference_id limit 1000",
        ),
    ),
    mutant(
        "a difference that was settled stays so whatever comes",
        "activities:what_a_person_has_settled activities",
        (RECONCILE_STORE, "and (known.settled_at is null or (", "and (true or ("),
    ),
    mutant(
        "a difference that is gone is settled all the same",
        "starter:a_difference_is_settled starter",
        (
            CLOSED_BY_SQL,
            "where difference_id = the_difference and closed_at is null and settled_at is null",
            "where difference_id = the_difference and settled_at is null",
        ),
    ),
    mutant(
        "what was decided about an event is decided once more",
        "starter:an_event_that_fits_nothing starter",
        (CLOSED_BY_SQL, "where event_id = the_event and state = 'open'", "where event_id = the_event"),
    ),
    mutant(
        "one decision about disputes reaches those that wait for something else",
        "starter:one_decision_reaches_all_disputes starter",
        (
            "starter-api/src/app/attention.rs",
            "attention.step == StepName::AnswerDispute && attention.why.starts_with(cause)",
            "attention.step == StepName::AnswerDispute && !cause.is_empty()",
        ),
    ),
    mutant(
        "those that wait longest for a person are listed last",
        "starter:the_orders_that_wait_for_a_person starter",
        (
            "starter-api/src/app/attention.rs",
            "sort_by_cached_key(|one| one.place.clone())",
            "sort_by_cached_key(|one| std::cmp::Reverse(one.place.clone()))",
        ),
    ),
    mutant(
        "a change of an article overwrites another person's",
        "starter:a_change_of_what_somebody_else starter",
        (
            "starter-api/src/app/products/update.rs",
            "    consent(&present.ok_or_else(Problem::product_not_found)?.try_into()?)?;\n",
            "    present.ok_or_else(Problem::product_not_found)?;\n    drop(consent);\n",
        ),
    ),
    mutant(
        "a cancel of an order whose workflow was terminated is said to be too late",
        "starter:an_order_whose_workflow_was_terminated starter",
        (CANCEL, "        Cancelled::NotOpen => lost(),", "        Cancelled::NotOpen => already_shipped(),"),
    ),
    mutant(
        "an amount may be beyond reason",
        "starter:a_price_beyond_reason starter",
        ("domain/src/money.rs", "        if self.amount > Decimal::from(Self::REASON) {", "        if self.amount == Decimal::MAX {"),
    ),
    mutant(
        "an amount in a loose spelling is taken",
        "domain",
        ("domain/src/money.rs", "    Decimal::from_str_exact(text).ok().filter(|_number| is_plain)", "    Decimal::from_str_exact(text).ok().filter(|number| is_plain || !number.is_zero())"),
    ),
    mutant(
        "a discount code counts only as the shop writes it",
        "starter:a_discount_code_counts starter",
        ("starter-api/src/app/catalogue.rs", "where upper(code) = upper($1) and", "where code = $1 and"),
    ),
    mutant(
        "every country has postal codes",
        "starter:an_address_is_complete starter",
        ("starter-api/src/app/orders/place/command.rs", "let has_codes = is_needed(CountryCode::needs_postal_code);", "let has_codes = is_needed(|_country| true);"),
    ),
    mutant(
        "a password counts only in the form of Unicode in which it was set",
        "units:a_password_is_the_same units",
        (PASSWORDS, "        let password: String = password.nfc().collect();\n", ""),
        (PASSWORDS, "let mut forms = vec![password.nfc().collect()];", "let mut forms = vec![password.to_owned()];"),
        (PASSWORDS, "[password.to_owned(), password.nfd().collect()]", "[password.to_owned(), password.chars().collect()]"),
    ),
    mutant(
        "a client's secret is not decoded",
        "starter:a_secret_is_read_form_encoded starter",
        ("starter-api/src/http/identity/token.rs", "    decoded.into_iter().chain([as_sent]).collect()", "    decoded.into_iter().skip(1).chain([as_sent]).collect()"),
    ),
    mutant(
        "a caller's address is not found where a port follows it",
        "units:an_address_is_read_with_its_port units",
        (PROXIES, "    if let Ok(address) = node.parse::<SocketAddr>() {\n        return Some(address.ip());\n    }\n", ""),
        (PROXIES, "node.rsplit_once(':')?;", "node.rsplit_once(\":_\")?;"),
        (PROXIES, "use std::net::{IpAddr, SocketAddr};", "use std::net::IpAddr;"),
    ),
    mutant(
        "a preference is not heard in another case",
        "units:a_wait_is_read_however units",
        (BODIES, '        name.trim().eq_ignore_ascii_case("wait").then_some(value.trim())', '        (name.trim() == "wait").then_some(value.trim())'),
    ),
    mutant(
        "whatever a caller invents is a label of a metric",
        "starter:what_callers_invent starter",
        (
            "starter-api/src/http/observe.rs",
            '.unwrap_or("other")',
            ".unwrap_or_else(|| &*Box::leak(method.to_string().into_boxed_str()))",
        ),
    ),
    mutant(
        "a query's fragments are followed each time that they are spread",
        "units:fragments_that_double units",
        ("starter-api/src/graphql/size.rs", "        self.sizes.insert(name, size);\n", "        self.sizes.remove(name);\n"),
    ),
    mutant(
        "a query may cost whatever it likes",
        "starter:a_question_that_costs_too_much starter",
        ("starter-api/src/graphql.rs", ".limit_complexity(COMPLEXITY_MAX)", ".limit_complexity(usize::MAX.max(COMPLEXITY_MAX))"),
    ),
    mutant(
        "a process that ends cuts off what it has begun to answer",
        "units:a_door_is_closed_once units",
        ("starter-api/src/serve.rs", "        self.inside.close();\n        self.inside.wait().await;\n", "        self.inside.close();\n"),
    ),
    mutant(
        "an answer that Stripe has kept is taken for news",
        "activities:a_repeat_whose_answer activities",
        (STRIPE, "        if reply.is_replayed {\n            return Ok(Told::Was);", "        if false {\n            return Ok(Told::Was);"),
    ),
    mutant(
        "a refund that is pending at Stripe counts as made",
        "activities:a_refund_that_is_pending_is_waited activities",
        (STRIPE, 'Refunding::Undecided => Err(undecided("the refund is pending")),', "Refunding::Undecided => self.found(id).await.map(Some),"),
    ),
    mutant(
        "what Stripe withdraws for a dispute is taken for what it reinstates",
        "activities:a_dispute_is_read_as_it_is activities",
        ("activities/src/payment/stripe/objects.rs", "if self.amount < 0 { withdrawn } else { reinstated }", "if self.amount > 0 { withdrawn } else { reinstated }"),
    ),
    mutant(
        "a refund that has failed is asked for under its old key",
        "activities:a_refund_that_has_failed_is_asked activities",
        (STRIPE, "let failed = of_key(&refunds, refund_key, Refunding::Failed);", "let failed = 0_u32;"),
    ),
    mutant(
        "an order fails because Stripe does not accept the key",
        "activities:a_key_that_is_not_accepted activities",
        (STRIPE_CLIENT, "=> self.unavailable(why, BAD_KEY),", "=> ProviderError::InvalidAnswer(self.told(why, BAD_KEY).into()),"),
    ),
    mutant(
        "Stripe is taken to count by ISO 4217",
        "domain:amounts_are_counted domain",
        ("domain/src/provider.rs", "Some(Counting { units: 100, step: 100 })", "Some(Counting { units: 1, step: 1 })"),
    ),
    mutant(
        "what the payment provider cannot charge becomes an order",
        "starter:what_the_payment_provider starter",
        ("starter-api/src/app.rs", "        chargeable.map_err(|error| pricing_refused(&error.into()))?;\n", "        let _refused = chargeable.map_err(|error| pricing_refused(&error.into()));\n"),
    ),
    mutant(
        "a card number is taken for a payment method of Stripe's",
        "domain:a_card_number domain",
        ("domain/src/ids.rs", "is_word(id) && !holds_card_number(id)", "is_word(id) && (true || !holds_card_number(id))"),
    ),
    mutant(
        "whoever may read orders has money given back over gRPC",
        "starter:a_refund_that_http_refuses starter",
        (GRPC, "self.open::<scope::RefundPayments, _>(request)", "self.open::<scope::ReadOrders, _>(request)"),
    ),
    mutant(
        "an order's refunds cost a question nothing",
        "starter:a_question_that_multiplies starter",
        (
            GRAPHQL_ORDER,
            '    #[graphql(complexity = "10 + 2 * child_complexity")]\n    async fn refunds(',
            '    #[graphql(complexity = "0")]\n    async fn refunds(',
        ),
    ),
    mutant(
        "a refund is asked for under another key each time",
        "cli:an_operator_has_money cli",
        (CLI_REFUND, "post_under_key(&path, &wanted.key, &wanted.body())", "post_under_key(&path, &format!(\"{}-{:?}\", wanted.key, std::time::SystemTime::now()).replace(' ', \"\"), &wanted.body())"),
    ),
    mutant(
        "of a webhook's signatures the last one counts",
        "units:every_signature_counts starter:while_one_secret units",
        (SIGNATURE, "signatures.push(of_hex(digits)?);", "signatures = vec![of_hex(digits)?];"),
    ),
    mutant(
        "a webhook counts however old it is",
        "units:a_moment_counts starter:what_stripe_has_not units",
        (SIGNATURE, "at.abs_diff(now) <= TOLERANCE_SECONDS", "at.saturating_sub(now) <= TOLERANCE_SECONDS"),
    ),
    mutant(
        "a webhook's signature is not about the whole body",
        "units:whoever_has_a_secret starter:what_stripe_has_not units",
        (SIGNATURE, "    context.update(body);\n", "    context.update(body.get(..1).unwrap_or_default());\n"),
    ),
    mutant(
        "an event of the other mode is kept",
        "starter:an_event_of_another_mode starter",
        (RECEIVE, "event.is_of_another_account || !is_of_this_mode", "event.is_of_another_account"),
    ),
    mutant(
        "an event is answered whether or not it is kept",
        "starter:an_event_that_cannot_be_kept starter",
        (RECEIVE, "    keep(&app.database, &event).await\n", "    drop(keep(&app.database, &event).await);\n    Ok(())\n"),
    ),
    mutant(
        "what the provider calls an event decides",
        "activities:what_the_object_is activities",
        (
            INBOX,
            "            return match refund.state {\n",
            '            let is_failure = self.event.event_type == "refund.failed";\n'
            "            return match if is_failure { AtProvider::Failed } else { refund.state } {\n",
        ),
    ),
    mutant(
        "what was given back at the provider is booked each time that it is told",
        "activities:what_somebody_gives_back activities",
        (INBOX, "find(|one| one.is_named(&refund.reference))", "find(|one| one.is_named(\"\"))"),
        (INBOX_SQL, "            and the_reference in (known.provider_reference, known.failed_reference)\n", "            and false\n"),
    ),
    mutant(
        "an event about a payment that is not on record is given up",
        "activities:a_payment_that_is_not activities",
        (
            INBOX,
            "        let Some(charge) = store::charge(self.db, id).await? else {\n            return Ok(not_yet(NO_PAYMENT));",
            "        let Some(charge) = store::charge(self.db, id).await? else {\n            return Ok(Outcome::Ignored);",
        ),
    ),
    mutant(
        "a worker that is too slow decides when an event is looked at again",
        "activities:a_worker_that_is_too_slow activities",
        (INBOX_STORE, "where event_id = $1 and attempts = $2 and state = 'open'", "where event_id = $1 and attempts >= $2 and state = 'open'"),
    ),
    mutant(
        "the provider's events are read on from where they ended",
        "activities:the_list_is_read activities",
        (FEED, "TimeDelta::minutes(10)", "TimeDelta::minutes(0)"),
    ),
    mutant(
        "a reading of the provider's events that broke off counts as one",
        "activities:a_list_that_was_not activities",
        (FEED, "store::leave_feed(db, name, None, every)", "store::leave_feed(db, name, Some(Utc::now()), every)"),
    ),
    mutant(
        "what came back and is given again is booked under the old name",
        "activities:a_refund_that_was_taken_back activities",
        (REFUND_STORE, "'again-' || nullif(reversals, 0)", "'again-' || nullif(reversals, reversals)"),
    ),
    mutant(
        "a refund of the provider's that came back keeps its claim",
        "activities:what_the_dashboard activities",
        (INBOX_SQL, "            - case when refund.is_from_outside then refund.amount else 0 end,\n", "            - 0,\n"),
    ),
    mutant(
        "a refund is taken back while another one is under way",
        "activities:a_refund_is_taken_back_once activities",
        (INBOX_SQL, "    if not refund.is_from_outside and exists (\n", "    if false and exists (\n"),
    ),
    mutant(
        "a payment looks refunded although its money came back",
        "activities:whatever_happens_to_an_order activities",
        (STATUS, "            Self::PartiallyRefunded | Self::Refunded if is_all_there => Self::Paid,\n", "            Self::PartiallyRefunded | Self::Refunded if is_all_there => self,\n"),
    ),
    mutant(
        "events that were applied are counted as waiting",
        "counting:events_of counting",
        (COUNTING, "from inbox.events where state = 'open'", "from inbox.events where state <> 'ignored'"),
    ),
    mutant(
        "the counterpart of Stripe refunds more than was captured",
        "counterparts:no_more_is_refunded counterparts",
        ("counterparts/src/effects.rs", "if amount > left {", 'if amount > whole(&charge["amount"]) {'),
    ),
    mutant(
        "the counterpart of Stripe does not keep its own failures under their keys",
        "units:the_same_request_gets_the_answer units",
        (
            "counterparts/src/answer.rs",
            'Self::refused(500, &json!({ "type": "api_error", "message": message }))',
            'Self::invalid(500, &json!({ "type": "api_error", "message": message }))',
        ),
    ),
    mutant(
        "the counterpart of Stripe signs with one secret of two",
        "units:each_secret_signs units",
        ("counterparts/src/webhooks.rs", "for secret in secrets {", "for secret in secrets.iter().take(1) {"),
    ),
    mutant(
        "a reason keeps its control characters",
        "units:a_text_that_nobody_can_refuse saga:an_order_ends_cancelled units",
        ("domain/src/text.rs", "if is_text(letter) { letter } else { ' ' }", "if is_text(letter) || letter.is_control() { letter } else { ' ' }"),
    ),
    mutant(
        "a note that no database keeps is sent to it as it is",
        "activities:a_note_that_is_under_way activities",
        (KEYS, "Value::String(text.replace('\\0', \" \"))", "Value::String(text)"),
    ),
    mutant(
        "a payment's id is stored whatever it is",
        "activities:a_payments_id_that_cannot activities",
        ("activities/src/payment/port.rs", "if is_foreign_id(&self.0) { Ok(self) }", "if is_foreign_id(&self.0) || !self.0.is_empty() { Ok(self) }"),
    ),
    mutant(
        "a link in a reason is one in the Web UI",
        "units:nothing_that_is_told units",
        (PROGRESS, "if MARKUP.contains(letter) {", "if MARKUP.contains(letter) && !matches!(letter, '[' | ']') {"),
    ),
    mutant(
        "a terminal obeys what stands in a table",
        "programs:a_terminal_shows programs",
        ("cli/src/output.rs", "    Visible(text).to_string()\n", "    text\n"),
    ),
    mutant(
        "a history with a hole is given to the SDK",
        "units:a_history_that_the_sdk formats:what_cannot_be_replayed units",
        (HISTORY, "if found != expected {", "if found < expected {"),
    ),
    mutant(
        "what older tools write is no history",
        "units:a_history_is_the_same_with formats:a_history_replays units",
        ("worker/src/replay/history/names.rs", "            *name = full;\n", "            name.truncate(full.len());\n"),
    ),
    mutant(
        "a number in a query may have a plus before it",
        "units:a_number_is_digits units",
        (TEXTS, "text.parse().ok().filter(|_number| is_plain)", "text.parse().ok().filter(|_number| is_plain || text.starts_with('+'))"),
    ),
    mutant(
        "an HTTP client begins without cryptography",
        "units:a_client_can_be_built units",
        ("runtime/src/http.rs", "let _is_first = ring::default_provider().install_default().is_ok();", "let _made = ring::default_provider();"),
    ),
    mutant(
        "a key counts for every algorithm of its kind",
        "units:a_key_that_an_earlier_release units",
        (SIGNATURES, "DecodingKeyKind::SecretOrDer(key) if self.algorithm == Algorithm::ES256 => {", "DecodingKeyKind::SecretOrDer(key) if self.algorithm != Algorithm::EdDSA => {"),
    ),
    mutant(
        "the counterpart of Stripe lists the older of two refunds first",
        "units:of_several_refunds units",
        ("counterparts/src/effects.rs", "    all.reverse();\n", ""),
    ),
    mutant(
        "a fault for one payment at the counterpart of Stripe befalls others",
        "units:a_fault_of_one_payment units",
        ("counterparts/src/faults.rs", "planned.of.as_deref().is_none_or(|wanted| of.contains(&wanted))", "planned.of.is_none() || !of.is_empty()"),
    ),
    mutant(
        "the demo's customers pay at Stripe with the sandbox's cards",
        "programs:each_provider_is_given programs",
        ("shop/src/plan.rs", "ProviderName::Stripe => self.stripe_token(),", "ProviderName::Stripe => self.sandbox_token(),"),
    ),
    mutant(
        "the demo does not mind that an order paid twice at Stripe",
        "programs:a_payment_is_taken_once programs",
        ("shop/src/stripe.rs", "self.payments == 1 && self.returned == returned", "self.payments >= 1 && self.returned == returned"),
    ),
    mutant(
        "money that Stripe has of an order that the shop does not know is not seen",
        "programs:an_order_that_has_not_paid programs",
        ("shop/src/stripe.rs", "!orders.contains_key(*order) && !taken", "orders.contains_key(*order) && !taken"),
    ),
    mutant(
        "chaos does not mind a transfer that is on record twice",
        "programs:what_is_on_record_otherwise programs",
        ("shop/src/chaos/bank.rs", "on_record.len() != 1 || ", "on_record.is_empty() || "),
    ),
    mutant(
        "chaos does not mind an event that nobody has heard",
        "programs:everything_is_to_be_heard programs",
        ("shop/src/chaos/checks.rs", "known.len() < owed.count()", "known.len() > owed.count()"),
    ),
    mutant(
        "chaos does not mind a webhook that somebody else has signed",
        "programs:it_keeps_what_the_shop_has_signed programs",
        ("shop/src/chaos/receiver.rs", "Some(is_fresh && is_ours)", "Some(is_fresh || is_ours)"),
    ),
    mutant(
        "chaos does not mind a mail that counts as sent and is not there",
        "programs:a_mail_is_there programs",
        ("shop/src/chaos/hearers/mails.rs", "times > 0 && (times == 1 || !is_at_most_once)", "times <= 1 || !is_at_most_once"),
    ),
    mutant(
        "the demo takes a dispute for won whose money is not back",
        "programs:a_dispute_is_on_record programs",
        ("shop/src/demo/disputes.rs", "            && self.bookings == dispute.bookings()\n", ""),
    ),
    mutant(
        "the demo does not mind what is left in payment clearing",
        "programs:payment_clearing_is_cleared programs",
        ("shop/src/demo/report.rs", "clearing.all(|sum| sum.balance.is_zero())", "clearing.any(|sum| sum.balance.is_zero())"),
    ),
    mutant(
        "the demo's endpoint takes what the shop has not signed",
        "programs:only_what_the_shop_has_signed programs",
        ("shop/src/demo/receiver.rs", "hmac::verify(key, &signed, &tag).is_ok()", "!signed.is_empty() && !tag.is_empty()"),
    ),
    mutant(
        "the demo does not mind that webhooks of an order come in another order",
        "programs:an_order_is_heard_of programs",
        ("shop/src/demo/receiver.rs", "heard.starts_with(sequences)", "heard.len() >= sequences.len()"),
    ),
    mutant(
        "the demo does not mind an event that has not reached a sink",
        "programs:a_sink_has_had_all programs",
        ("shop/src/demo/parties.rs", "&& had >= at_least\n", "&& had >= at_least.min(0)\n"),
    ),
    mutant(
        "the demo does not mind a sale without an invoice",
        "programs:a_sale_is_invoiced programs",
        ("shop/src/demo/parties.rs", "(DocumentKind::Invoice, charge)", "(DocumentKind::Invoice, None)"),
    ),
    mutant(
        "the counterpart of Stripe pays the same out again",
        "units:everything_is_paid_out units",
        ("counterparts/src/balance.rs", "            change.payout = Some(id.to_owned());\n", ""),
    ),
    mutant(
        "the counterpart of Stripe tells twice what was to be told once",
        "units:one_event_after_the_other units",
        ("counterparts/src/webhooks.rs", "Self::LateMs(milliseconds) => (1, milliseconds),", "Self::LateMs(milliseconds) => (2, milliseconds),"),
    ),
    mutant(
        "an authorisation is voided although a person wants it to stay",
        "domain:an_authorisation_is_voided domain",
        (
            RECONCILIATION,
            "let may_void = facts.order == OrderStanding::Over && !facts.is_settled_by_hand;",
            "let may_void = facts.order == OrderStanding::Over;",
        ),
    ),
    mutant(
        "an order that is just moving is compared with the provider",
        "domain:an_order_that_waits domain",
        (
            RECONCILIATION,
            "    if facts.order == OrderStanding::Moving {\n        return Judgement::NONE;",
            "    if facts.theirs.is_none() && facts.ours.is_none() {\n        return Judgement::NONE;",
        ),
    ),
    mutant(
        "a penny less than the shop has on record is no difference",
        "domain:what_was_taken domain",
        (
            RECONCILIATION,
            "(theirs.captured != ours.captured).then_some(",
            "(theirs.captured.amount() > ours.captured.amount()).then_some(",
        ),
    ),
    mutant(
        "a fee is taken for money that comes in",
        "domain:a_payout_and_a_fee domain",
        (LEDGER, "let (to, from) = if amount.is_sign_negative() {", "let (to, from) = if amount.is_sign_positive() {"),
    ),
    mutant(
        "a list ends with its first page",
        "activities:a_list_of_many_pages activities",
        (
            RECONCILE,
            "        match next {\n            Some(cursor) => Checkpoint",
            "        match next.filter(String::is_empty) {\n            Some(cursor) => Checkpoint",
        ),
    ),
    mutant(
        "what seems to differ is told without a second look",
        "activities:what_stripe_took activities",
        (RECONCILE, "        self.look_up(&pair.reference).await?;\n", ""),
    ),
    mutant(
        "a rehearsal voids payments",
        "activities:a_rehearsal_finds activities",
        (RECONCILE, "self.notes.is_rehearsal() || void(", "void("),
    ),
    mutant(
        "a range has its last moment, too",
        "activities:stripes_lists activities",
        (STRIPE_LISTS, '("created[lt]", to.as_str())', '("created[lte]", to.as_str())'),
    ),
    mutant(
        "a page that leads nowhere is asked for again and again",
        "units:a_page_leads activities",
        (STRIPE_LISTS, "match last.filter(|last| Some(*last) != after) {", "match last.or(after) {"),
    ),
    mutant(
        "a refund is asked for although less is left of the payment at Stripe",
        "activities:what_a_person_has_given_back activities",
        ("activities/src/payment/stripe.rs", "            if intent.has_less_left_than(amount) {", "            if false {"),
    ),
    mutant(
        "an undo asks for all of a payment of which a part was given back",
        "activities:an_undo_gives_back activities",
        (PAYMENT, "&self.refund_key(), self.left())", "&self.refund_key(), self.captured())"),
    ),
    mutant(
        "a fee that a dispute books is booked by its payout, too",
        "activities:a_dispute_in_a_payout activities",
        ("activities/src/reconcile/payouts.rs", "SettledKind::Dispute => return Ok(None),", "SettledKind::Dispute => Some(*fee),"),
    ),
    mutant(
        "a comparison of last week is taken for today's",
        "prove:a_provider_elsewhere prove",
        (RECONCILED, "    if last.is_old {", "    if last.is_old && last.uncovered < 0 {"),
    ),
    mutant(
        "a difference that a person has settled breaks the proof",
        "prove:a_difference_that_a_person prove",
        (RECONCILED, "where closed_at is null and settled_at is null and kind", "where closed_at is null and kind"),
    ),
    mutant(
        "what was paid by way of the provider before is missed at the one of today",
        "prove:a_shop_that_has_changed prove",
        ("worker/src/prove/money.rs", "            where provider_reference ~ '^(sandbox-payment-|RF[0-9]{20}$)'\n", "            where true\n"),
    ),
    mutant(
        "a reference with a slip is taken for another payment's",
        "domain:a_reference_is_read_back domain",
        ("domain/src/bank.rs", "            && is_checked(text);\n", "            && (true || is_checked(text));\n"),
    ),
    mutant(
        "a bank's file may declare entities",
        "units:a_file_that_declares_entities units",
        (BANK_XML, "Event::DocType(_) => return Err(XmlFault::Dtd.into()),", "Event::DocType(_) => {}"),
    ),
    mutant(
        "a bank's file that is torn is taken in as far as it goes",
        "units:a_file_that_is_torn units",
        (BANK_XML, "Some(element) => Err(XmlFault::Torn(as_one_line(&element.name, 50))),", "Some(_element) => Ok(()),"),
    ),
    mutant(
        "two customers who pay the same are one",
        "units:entries_without_a_reference units",
        (BANK_FILES, "                *number = number.saturating_add(1);\n", "                *number = number.saturating_add(0);\n"),
    ),
    mutant(
        "an entry is another one in every file",
        "activities:a_file_and_an_entry activities",
        (BANK_IMPORT, "if !is_new(&mut transaction, file, &statement.id, &booking.name).await? {", "let name = format!(\"{file}:{}\", booking.name);\n            let booking = &camt::Booking { name, transfers: booking.transfers.clone() };\n            if !is_new(&mut transaction, file, &statement.id, &booking.name).await? {"),
    ),
    mutant(
        "a transfer that comes back pays for an order",
        "activities:another_currency activities",
        (BANK_IMPORT, "if told.is_return || told.end_to_end.as_deref().is_some_and(list::is_ours) {", "if told.is_return && told.end_to_end.as_deref().is_some_and(list::is_ours) {"),
    ),
    mutant(
        "money of another currency pays for an order",
        "activities:another_currency activities",
        (BANK_IMPORT, "    if expected.amount.currency() != amount.currency() {\n        return Ok(Became::Unassigned(Unassigned::OtherCurrency));\n    }\n", "    let amount = Money::new(amount.amount(), expected.amount.currency()).unwrap_or(amount);\n"),
    ),
    mutant(
        "money that comes for a payment that is closed is kept",
        "activities:money_for_a_cancelled activities",
        (BANK_IMPORT, "        State::Opened | State::Awaiting => expected.missing().map_err(impossible)?,\n        State::Received | State::Captured | State::Closed => nothing,\n", "        State::Opened | State::Awaiting | State::Closed => {\n            expected.missing().map_err(impossible)?\n        }\n        State::Received | State::Captured => nothing,\n"),
    ),
    mutant(
        "a payment is closed and keeps what has come",
        "activities:money_for_a_cancelled activities",
        (BANK_RECORDS, "        give_back(connection, reference, *received, Reason::Closed).await?;\n", "        let _kept = (connection, Reason::Closed);\n"),
    ),
    mutant(
        "a part of the money is all of it",
        "activities:an_order_waits_for_the_rest activities",
        (BANK_IMPORT, "case when received + $3 = amount then 'received' else state end,", "case when received + $3 > 0 then 'received' else state end,"),
        (BANK_SQL, "check (state <> 'received' or received = amount),", "check (state <> 'received' or received > 0),"),
    ),
    mutant(
        "a surplus is kept",
        "activities:what_is_too_much activities",
        (BANK_IMPORT, "select $5, $1, $6, $4 where $4::numeric > 0\n", "select $5, $1, $6, $4 where $4::numeric < 0\n"),
    ),
    mutant(
        "an assignment that is run again is refused",
        "activities:what_is_assigned_again activities",
        (BANK_IMPORT, "        return before.ok_or(NotDecided::NotWaiting(entry));\n", "        let _before = before;\n        return Err(NotDecided::NotWaiting(entry));\n"),
    ),
    mutant(
        "a list whose file was not written is forgotten",
        "activities:what_is_too_much activities",
        (BANK_LIST, "        Some(unwritten) => Some(unwritten),\n", "        Some(_unwritten) => claim(db, account).await?,\n"),
    ),
    mutant(
        "a line may stand on another list",
        "activities:lists_that_are_made activities",
        (BANK_SQL, "for each row when (old.list_id is not null and new.list_id is distinct from old.list_id)", "for each row when (old.list_id is null and new.list_id is null)"),
    ),
    mutant(
        "a refund by transfer counts as made before anybody can pay it out",
        "activities:a_refund_is_pending_until activities",
        (BANK, "state: if made.is_listed { AtProvider::Succeeded } else { AtProvider::Pending },", "state: if made.first_line > 0 { AtProvider::Succeeded } else { AtProvider::Pending },"),
    ),
    mutant(
        "a refund by transfer is made each time that it is asked for",
        "activities:a_refund_is_pending_until activities",
        (BANK, "        if made.map_err(failed)?.is_none() {\n", "        if made.map_err(failed)?.is_none_or(|made| !made.is_listed) {\n"),
        (BANK_SQL, "    constraint lines_once_per_refund unique (refund_key, entry_id),\n", ""),
    ),
    mutant(
        "a customer has a quarter of an hour for a transfer",
        "units:customers_have_the_time units",
        ("domain/src/provider.rs", "Self::BankTransfer => 604_800,", "Self::BankTransfer => 900,"),
    ),
    mutant(
        "what a customer has to transfer is shown as a link to approve",
        "starter:what_a_customer_has_to_transfer starter",
        ("starter-api/src/app/orders/store.rs", "case when starts_with(charge.approval_url, 'payto:')", "case when starts_with(charge.approval_url, 'pay:')"),
    ),
    mutant(
        "a rule that is tried out decides",
        "domain:a_rule_in_the_shadow domain",
        (SCREENING, "rule.mode == Mode::Active", "matches!(rule.mode, Mode::Active | Mode::Shadow)"),
    ),
    mutant(
        "the whole address that a customer orders from is kept",
        "domain:of_an_address domain",
        (SCREENING, "let [a, b, c, _] = v4.octets();", "let [a, b, c, d] = v4.octets();"),
        (SCREENING, 'format!("{a}.{b}.{c}.0/24")', 'format!("{a}.{b}.{c}.{d}/32")'),
    ),
    mutant(
        "orders of one customer are counted without waiting for each other",
        "activities:an_order_waits_for_one activities",
        (SCREENING_SQL, "        perform pg_advisory_xact_lock(turn.number);\n", "        null;\n"),
    ),
    mutant(
        "an order that is counted again is counted behind those that came after it",
        "activities:an_order_that_is_counted_twice activities",
        (SCREENING_SQL, "        and other.position <= own.position\n", ""),
    ),
    mutant(
        "an order that was declined counts no more",
        "activities:an_order_that_was_declined activities",
        (SCREENING_SQL, "in ('card-declined', 'screening-declined')", "in ('never')"),
    ),
    mutant(
        "a zombie counts an order that is undone",
        "activities:an_order_that_is_undone_first activities",
        (SCREENING_SQL, "            and step_keys.version = the_version and step_keys.undone_at is not null\n", "            and step_keys.version = the_version and false\n"),
    ),
    mutant(
        "a person may decide when a review's time is over",
        "activities:the_deadline_decides activities",
        (SCREENING_SQL, "when asked.review_until <= clock_timestamp() then 'too-late'", "when false then 'too-late'"),
    ),
    mutant(
        "an order that is unwound goes on counting",
        "activities:an_order_that_is_undone_counts activities",
        (FRAUD, "    store::withdraw(db, key).await\n", "    let _withdrawn = store::withdraw;\n    Ok(())\n"),
    ),
    mutant(
        "a risky payment is captured before anybody looks",
        "saga:a_risky_payment saga",
        (PROCESS, "            screened_again(ctx, saga, order).await?;\n        }\n        saga.cancel_window", "        }\n        saga.cancel_window"),
    ),
    mutant(
        "every order is screened, whatever its terms say",
        "replay:the_histories_on_file saga:an_order_whose_terms",
        (PROCESS, "        .is_screened\n        .then(|| saga.step", "        .is_screened\n        .then_some(())\n        .or(Some(()))\n        .map(|()| saga.step"),
    ),
    mutant(
        "an order is not told that a person has decided",
        "starter:an_order_with_a_risky_payment starter",
        ("starter-api/src/app/screening/review.rs", "    let _told = app.temporal.review(order_id, Reviewed { attempt }).await;\n", "    let _told = app.temporal.review(order_id, Reviewed { attempt });\n"),
    ),
    mutant(
        "a customer says where they order from",
        "starter:screening_is_a_term starter",
        ("starter-api/src/app/orders/place/command.rs", "    if caller.customer().is_some() {\n        return Err(\"a customer does not say", "    if false && caller.customer().is_some() {\n        return Err(\"a customer does not say"),
    ),
    mutant(
        "a message that commits late is skipped",
        "relaying:what_commits_late relaying",
        (RELAY_SQL, "from pg_snapshot_xip(held.seen) as under_way (one)", "from pg_snapshot_xip('3:3:'::pg_snapshot) as under_way (one)"),
    ),
    mutant(
        "what commits while a backlog is worked through is skipped",
        "relaying:what_commits_while relaying",
        (RELAY_PROGRESS, "when $4 then coalesce(progress.reading, $3::text::pg_snapshot)", "when $4 then $3::text::pg_snapshot"),
    ),
    mutant(
        "a process that was taken for dead records what it has done",
        "relaying:a_process_that_was_taken relaying",
        (RELAY_PROGRESS, "                and progress.shard = had.shard and progress.lease = had.lease\n", "                and progress.shard = had.shard and had.lease > 0\n"),
    ),
    mutant(
        "a process keeps the shards that are another's share",
        "relaying:processes_share relaying",
        (RELAY_SQL, "        order by shard offset share\n", "        order by shard offset 8\n"),
    ),
    mutant(
        "later messages of an order overtake one that was refused",
        "relaying:a_refused_message relaying",
        (RELAY_READER, "            if mark.is_behind {", "            if mark.is_behind && mark.shard > 8 {"),
    ),
    mutant(
        "one message that is not taken has all others wait",
        "units:a_message_that_alone relaying:a_message_that_is_taken relaying",
        (RELAY_JUDGE, "Fate::NotTaken { why, retry_after, is_alone: others_were_taken, is_strike: false }", "Fate::NotTaken { why, retry_after, is_alone: others_were_taken && retry_after.is_some(), is_strike: false }"),
    ),
    mutant(
        "verdicts of the wrong number count for the first messages",
        "units:verdicts_of_the_wrong units",
        (RELAY_JUDGE, "    let verdicts = if breach.is_some() { Vec::new() } else { verdicts };\n", ""),
    ),
    mutant(
        "a message is given up because its receiver was away",
        "relaying:a_message_that_alone relaying",
        (RELAY_PARKING, "parked.strikes + (given.is_strike and ($6 or exists (", "parked.strikes + (given.is_strike and ($6 or true or exists ("),
    ),
    mutant(
        "a message is given up because its receiver cannot take it now",
        "relaying:what_a_receiver_cannot_take_now relaying",
        (RELAY_PARKING, "parked.strikes + (given.is_strike and (", "parked.strikes + (coalesce(given.is_strike, true) or true and ("),
    ),
    mutant(
        "a message that is skipped is delivered all the same",
        "relaying:what_is_skipped relaying",
        (RELAY_PARKING, "        if row.is_given_up {", "        if row.is_given_up && row.lease < 0 {"),
    ),
    mutant(
        "a receiver that is away is asked with all that there is",
        "relaying:a_receiver_that_is_away relaying",
        (RELAY_READER, "is_some_and(|asked| !asked.contains(&index))", "is_some_and(|asked| asked.contains(&usize::MAX) && index > 0)"),
    ),
    mutant(
        "a message that is never taken looks like a receiver that is away",
        "units:a_receiver_is_asked relaying:a_message_that_is_never relaying",
        (RELAY_READER, "firsts.first().into_iter().chain(other).copied().collect()", "firsts.first().into_iter().chain(other.filter(|_| turn == 0)).copied().collect()"),
    ),
    mutant(
        "whoever has nothing to deliver writes all the same",
        "relaying:who_has_nothing relaying",
        (RELAY_READER, "        if page.is_idle() {", "        if page.is_idle() && page.shards.is_empty() {"),
    ),
    mutant(
        "a message is removed that a new sink has still to have",
        "relaying:a_new_sink_keeps relaying",
        (RELAY_SQL, "    select least(max(had_before), have_had) into due_before\n", "    select max(had_before) into due_before\n"),
    ),
    mutant(
        "a database that was restored from a dump is read on",
        "relaying:a_database_that_was_restored relaying",
        (RELAY_SQL, "            and paused_at is null and not outbox.is_restored()\n    loop", "            and paused_at is null\n    loop"),
    ),
    mutant(
        "what is under way when a sink is set back counts as had",
        "relaying:what_was_under_way relaying",
        (RELAY_SQL, "    set seen = '3:3:', reading = null, after_position = 0, lease = lease + 1\n", "    set seen = '3:3:', reading = null, after_position = 0\n"),
    ),
    mutant(
        "who pauses a sink a second time has paused it",
        "starter:a_sink_is_paused starter",
        (RELAY_SQL, "    where sink = the_sink and (paused_at is not null) <> is_paused;\n", "    where sink = the_sink;\n"),
    ),
    mutant(
        "a sink that an operator has paused counts as late",
        "counting:where_messages_go counting",
        (COUNTING_OUTBOX, "let going = || sinks.iter().filter(|sink| !sink.is_paused);", "let going = || sinks.iter();"),
    ),
    mutant(
        "a webhook follows a redirect",
        "webhooks:a_redirect webhooks",
        (OUTSIDE, ".redirect(Policy::none())", ".redirect(Policy::limited(3))"),
    ),
    mutant(
        "a name that leads into a private network is connected to",
        "units:a_name_that_leads webhooks:an_endpoint_inside",
        (OUTSIDE, "may_be_inside || is_public(found.ip())", "may_be_inside || found.is_ipv4() || found.is_ipv6()"),
    ),
    mutant(
        "a name that is listed for one port is asked at all of them",
        "units:a_host_that_is_listed webhooks:an_endpoint_inside",
        (
            OUTSIDE,
            '("https" | "http", Listing::AtOtherPorts) => return Err(BadReceiver::NotPublic),',
            '("http", Listing::AtOtherPorts) => return Err(BadReceiver::NotPublic),\n        ("https", Listing::AtOtherPorts) => {}',
        ),
    ),
    mutant(
        "an IPv4 address is not seen inside an IPv6 one",
        "units:what_is_inside_a_network units",
        (OUTSIDE, "    is_given_out && !is_special\n", "    (is_given_out || first == 0) && !is_special\n"),
    ),
    mutant(
        "a webhook is signed by the newest secret alone",
        "units:each_secret_signs webhooks:public_libraries",
        ("relay/src/webhooks/signature.rs", "keys.iter().map(", "keys.iter().take(1).map("),
    ),
    mutant(
        "a text message's signature is not about its body",
        "mail:a_text_message_is_posted mail",
        ("relay/src/mail/sms.rs", "signature::header(&keys, message.id, timestamp, &body)", "signature::header(&keys, message.id, timestamp, b\"\")"),
    ),
    mutant(
        "a rotation that is repeated drops the secret that the receiver has",
        "starter:a_secret_is_rotated starter",
        (ENDPOINT_SQL, "select min(secret.secret_id) into kept", "select max(secret.secret_id) into kept"),
    ),
    mutant(
        "a repeated request for an endpoint is told a secret that does not count",
        "starter:an_endpoint_is_created_once starter",
        ("starter-api/src/app/endpoints/create.rs", "(!replayed).then(|| secret.written())", "Some(secret.written())"),
    ),
    mutant(
        "the starter can read the secrets of webhook endpoints",
        "webhooks:secrets_are_read webhooks",
        (ENDPOINT_SQL, "grant select (secret_id, endpoint_id, created_at, created_by, expires_at)\n            on", "grant select on"),
    ),
    mutant(
        "an order's later webhooks are sent though an earlier one was not taken",
        "webhooks:an_orders_messages webhooks",
        (ENDPOINT, "            if !is_delivered {\n                break;\n            }\n", "            let _goes_on = is_delivered;\n"),
    ),
    mutant(
        "an endpoint that took a message once is disabled all the same",
        "webhooks:an_endpoint_that_takes_nothing webhooks",
        (ENDPOINT, "return store::answers(db, self.endpoint_id).await,", "{\n                let _forgotten = store::answers(db, self.endpoint_id);\n                return Ok(());\n            }"),
    ),
    mutant(
        "an endpoint is failing because it could not be tried out",
        "webhooks:an_endpoint_that_fails_when webhooks",
        (ENDPOINT, " && !is_trial(attempt.message)", ""),
    ),
    mutant(
        "what operators ask for waits for the slowest endpoint",
        "webhooks:of_an_endpoints_backlog webhooks",
        (
            "relay/src/webhooks/asked.rs",
            "let ended = join_all(sends).await;",
            "let mut ended = Vec::new();\n        for send in sends {\n            ended.push(send.await);\n        }",
        ),
    ),
    mutant(
        "an endpoint that is gone is asked on and on",
        "units:every_status webhooks:an_endpoint_that_is_gone",
        ("relay/src/webhooks/answer.rs", "        410 => Outcome::Gone,\n", ""),
    ),
    mutant(
        "a disabled endpoint's messages do not wait",
        "webhooks:an_endpoint_that_is_gone webhooks",
        (ENDPOINT_SQL, "'webhook:' || the_endpoint, true, coalesce", "'webhook:', true, coalesce"),
    ),
    mutant(
        "what an endpoint has still to hear is sent ahead of its turn",
        "webhooks:what_an_endpoint_has_still webhooks",
        (ENDPOINT_SQL, "            and (pg_visible_in_snapshot(message.written_by, progress.seen)\n", "            and (true\n"),
    ),
    mutant(
        "an order's messages are under way at the same time",
        "units:no_two_messages_of_an_order",
        (
            WAVES,
            "orders.iter_mut().filter_map(VecDeque::pop_front)",
            "orders.iter_mut().flat_map(|order| order.drain(..))",
        ),
    ),
    mutant(
        "an order's messages go on behind one that was refused",
        "units:behind_a_refused_message brokers:behind_a_record",
        (
            WAVES,
            "arrived.push(matches!(verdict, Verdict::Delivered | Verdict::NotWanted));",
            "arrived.push(!matches!(verdict, Verdict::Unavailable { .. }));",
        ),
    ),
    mutant(
        "what travelled with a refused record is refused with it",
        "brokers:what_travelled_with",
        (KAFKA, "let in_company = wave.len() > 1;", "let in_company = wave.is_empty();"),
    ),
    mutant(
        "a record that is invalid is a broker that is away",
        "brokers:behind_a_record",
        (KAFKA, "    RDKafkaErrorCode::InvalidRecord,\n", "    RDKafkaErrorCode::InvalidGroupId,\n"),
    ),
    mutant(
        "a right that the relay lacks is the record's fault",
        "brokers:what_is_no_fault",
        (
            KAFKA,
            "    RDKafkaErrorCode::InvalidTimestamp,\n",
            "    RDKafkaErrorCode::TopicAuthorizationFailed,\n",
        ),
    ),
    mutant(
        "a producer is used again after a batch that it could not deliver",
        "brokers:what_is_no_fault",
        (KAFKA, "        if is_away || connected", "        if is_away && connected"),
    ),
    mutant(
        "an order's events are spread over the partitions",
        "brokers:every_event_is_a_record",
        (KAFKA, ".key(message.aggregate_id.as_str())", ".key(message.id.as_str())"),
    ),
    mutant(
        "Kafka is spoken to in the clear where TLS was not built in",
        "units:a_build_without_tls",
        (KAFKA_SETTINGS, "(true, _) if !has_tls =>", "(true, _) if !has_tls && is_scram =>"),
    ),
    mutant(
        "a mail whose answer is lost is sent again, whatever its policy",
        "mail:sending::an_answer_that_is_lost_has_a_mail_of_at_most_once units:what_may_have_been_sent",
        (MAIL_SENDER, "            MailPolicy::AtMostOnce => Settled::Parked { why },\n", "            MailPolicy::AtMostOnce => put_off(why, claim),\n"),
    ),
    mutant(
        "a mail is given to the server before that is on record",
        "mail:sending::a_mail_is_on_record_as_being_sent mail",
        (MAIL_STORE, "         set state = 'sending', sending_at = now(), next_try_at = now() + $3::interval, locale = $4,\n", "         set sending_at = now(), next_try_at = now() + $3::interval, locale = $4,\n"),
    ),
    mutant(
        "what a dead sender may have sent is sent again",
        "mail:sending::what_a_dead_sender mail",
        (MAIL_STORE, "(state = 'queued' or state = 'sending' and policy = 'at-least-once')", "state in ('queued', 'sending')"),
        (MAIL_STORE, "         where channel = $1 and state = 'sending' and policy = 'at-most-once'\n", "         where channel = $1 and state = 'sending' and policy = 'never'\n"),
    ),
    mutant(
        "an order is confirmed that was unwound meanwhile",
        "mail:sending::what_is_not_so_any_more mail",
        (MAIL_FACTS, "MailTemplate::Confirmed if !goes_on =>", "MailTemplate::Confirmed if !goes_on && self.event_version > 1 =>"),
    ),
    mutant(
        "a customer is told of a parcel that has come back",
        "mail:sending::a_customer_is_told_when mail",
        (MAIL_FACTS, "MailTemplate::Delivered if fulfilment != FulfilmentStatus::Delivered =>", "MailTemplate::Delivered if !fulfilment.has_left() =>"),
    ),
    mutant(
        "a delivery that is reported again is refused",
        "starter:a_delivery_is_on_record_once starter",
        (DELIVERED_SQL, "    if found then\n        outcome := 'repeated';", "    if false then\n        outcome := 'repeated';"),
    ),
    mutant(
        "a cut before the mail counts as one after it",
        "mail:sending::a_connection_that_breaks mail",
        (SMTP, "            return fault.of_mail(\"the recipient\");\n", "            return fault.after_the_mail();\n"),
    ),
    mutant(
        "a server's words are kept, with the address in them",
        "mail:sending::what_the_server_refuses mail",
        (SMTP, "enhanced.map_or_else(|| code.to_string(), |enhanced| format!(\"{code} {enhanced}\"))", "enhanced.map_or_else(|| code.to_string(), |_enhanced| format!(\"{code} {text}\"))"),
    ),
    mutant(
        "a server that takes no mail of the shop has each of them parked",
        "mail:sending::a_server_that_takes_no_mail mail",
        (SMTP, "        if self.is_put_off() { Outcome::NotNow { why } } else { Outcome::Away { why } }\n    }\n\n    /// Of the one mail", "        if self.is_put_off() { Outcome::NotNow { why } } else { Outcome::Never { why } }\n    }\n\n    /// Of the one mail"),
    ),
    mutant(
        "a server that does not encrypt is given the password in the clear",
        "mail:signing_in::a_server_that_does_not_encrypt mail",
        (SMTP, "*encryption == Encryption::Starttls) {", "*encryption == Encryption::Starttls && connection.can_starttls()) {"),
    ),
    mutant(
        "a mail at which the server always breaks off is tried without end",
        "mail:sending::a_mail_at_which_the_server mail",
        (MAIL_SENDER, "        Outcome::BrokenOff { why } if claim.others_were_sent => put_off(why, claim),\n", ""),
    ),
    mutant(
        "those who wait for what is sold out again hold up the mails of orders",
        "mail:waiting::those_who_wait mail",
        (MAIL_STORE, "               order by wait_id is not null, next_try_at, notification_id limit 1\n", "               order by next_try_at, notification_id limit 1\n"),
    ),
    mutant(
        "a mail of an order overtakes one that was put off",
        "mail:sending::an_orders_mails mail",
        (MAIL_STORE, "and earlier.state in ('queued', 'sending')", "and earlier.state in ('sending')"),
    ),
    mutant(
        "an event that comes again is told again",
        "mail:making::an_event_is_told_once mail",
        (MAIL_SQL, "    constraint notifications_once unique (fact, template, channel),\n", ""),
    ),
    mutant(
        "a shop that turns mails on writes about all its orders of before",
        "mail:making::what_happened_before mail",
        (MAIL_SINK, "message.created_at >= since", "message.created_at >= since || message.sequence > 0"),
    ),
    mutant(
        "a variable that does not exist is found when a mail is sent",
        "units:an_unknown_variable_is_found units",
        (MAIL_TEMPLATES, "            self.check_names(&format!(\"{locale}/{LAYOUT}\"), &common.unwrap_or_default(), sources)?;\n", "            let _never = common;\n"),
        (MAIL_TEMPLATES, "                    self.check_names(&name, &known, sources)?;\n", ""),
    ),
    mutant(
        "whoever waits is told again and again",
        "mail:waiting::whoever_waits mail",
        (MAIL_STORE, "             where told_at is null and withdrawn_at is null and on_hand > reserved\n", "             where withdrawn_at is null and on_hand > reserved\n"),
        (MAIL_STORE, "         select 'wait:' || wait_id, $1::text", "         select 'wait:' || wait_id || clock_timestamp(), $1::text"),
    ),
    mutant(
        "a mail that every order needs can be switched off",
        "starter:a_customer_says_what_mails starter",
        ("starter-api/src/app/customers/mail.rs", "        if !template.can_be_switched_off() {\n", "        if false && !template.can_be_switched_off() {\n"),
    ),
    mutant(
        "opening a link of a mail switches mails off",
        "starter:whoever_has_a_mail starter",
        (
            "starter-api/src/http/mail/unsubscribe_page.rs",
            "pub(crate) async fn unsubscribe_page() -> Html<&'static str> {\n    Html(PAGE)\n}\n",
            "pub(crate) async fn unsubscribe_page(\n"
            "    axum::extract::State(state): axum::extract::State<crate::http::State>,\n"
            "    crate::http::extract::Path(token): crate::http::extract::Path<String>,\n"
            ") -> Html<&'static str> {\n"
            "    let _off = crate::app::mail::unsubscribe(&state.app, &token).await.is_ok();\n"
            "    Html(PAGE)\n}\n",
        ),
    ),
    mutant(
        "a customer has the shop write to others",
        "starter:only_the_shops_own_programs starter",
        ("starter-api/src/app/customers/mail.rs", "    if input.email.is_some() && !is_staff {\n", "    if false && input.email.is_some() && !is_staff {\n"),
    ),
    mutant(
        "a row is compared with the events of a later moment",
        "rebuild:a_row_and_its_events rebuild",
        (
            TOLD_SQL,
            "orders.told_anew(the_order uuid) returns orders.orders\nlanguage plpgsql stable",
            "orders.told_anew(the_order uuid) returns orders.orders\nlanguage plpgsql volatile",
        ),
    ),
    mutant(
        "what is being recorded is lost when a row is put right",
        "rebuild:misses_nothing rebuild",
        (TOLD_SQL, "where order_id = the_order for update;\n    if not found then\n        return null;", "where order_id = the_order;\n    if not found then\n        return null;"),
    ),
    mutant(
        "a row is put right without a word of it on record",
        "rebuild:a_row_is_put_right rebuild",
        (
            TOLD_SQL,
            "    insert into orders.repairs (order_id, columns, repaired_by, why)\n"
            "    values (the_order, wrong, the_operator, the_reason);\n",
            "",
        ),
    ),
    mutant(
        "a name in capitals is not seen in a log",
        "units:what_no_log_may_say units",
        (LOGS, "let lower = unescaped(line).to_lowercase();", "let lower = unescaped(line);"),
    ),
    mutant(
        "what lies across two pieces of a log's long line is not seen",
        "units:a_line_longer_than_any_piece units",
        (LOGS, "piece.drain(..piece.len().saturating_sub(OVERLAP));", "piece.drain(..piece.len().saturating_sub(1));"),
    ),
    mutant(
        "an event that a consumer has left out is not missed",
        "units:an_event_that_is_taken_twice units",
        (CONSUMED, '        Err("was taken before an earlier one")\n', "        Ok(())\n"),
    ),
    mutant(
        "a message that has overtaken a parked one is not seen",
        "prove:what_waits_behind prove",
        ("worker/src/prove/messages.rs", "min(sequence) as first_parked", "max(sequence) as first_parked"),
    ),
    mutant(
        "a consumer's effect is committed without the event's number",
        "inbox:a_crash_between inbox",
        (CONSUMER, "        take_effect(&mut transaction, event).await?;\n", "        take_effect(&mut *db.acquire().await?, event).await?;\n"),
    ),
    mutant(
        "a consumer takes a repeat for news",
        "inbox:a_repeat_takes inbox",
        (CONSUMER, "Ok(inserted.rows_affected() == 1)", "Ok(inserted.rows_affected() <= 1)"),
    ),
    mutant(
        "an order is invoiced at any rate that its destination has had",
        "domain:the_rate_is_the_first domain",
        (INVOICE, "net.percent(*rate).is_ok_and(|tax| tax == totals.tax)", "net.percent(*rate).is_ok()"),
    ),
    mutant(
        "a document's total is not added up",
        "domain:what_does_not_add_up domain",
        (INVOICE, "if stated == comes_to {", 'if stated == comes_to || what == "total" {'),
    ),
    mutant(
        "a credit note says the whole of the tax and none of the shipping",
        "domain:a_credit_note_has domain",
        (INVOICE, "            net: parts.goods.checked_add(parts.shipping)?,\n", "            net: parts.goods,\n"),
    ),
    mutant(
        "an order is invoiced whatever was taken of its customer's money",
        "invoicing:what_is_refused invoicing",
        (INVOICES, "if *captured != totals.total {", "if *captured != totals.total && captured.is_zero() {"),
    ),
    mutant(
        "a number is taken before its document's transaction",
        "invoicing:an_order_that_is_sold invoicing",
        (INVOICES, "store::take_number(db, seller, kind, self.prefix(kind)).await?;", "store::take_number(&mut *self.db.acquire().await?, seller, kind, self.prefix(kind)).await?;"),
    ),
    mutant(
        "what was issued before is not looked for",
        "invoicing:an_order_that_is_sold invoicing",
        (INVOICES, "if store::find(db, order_id, occasion).await?.is_some() {", "if store::find(db, order_id, occasion).await?.is_some() && self.prefixes.is_empty() {"),
    ),
    mutant(
        "an order behind a refused message is not left alone",
        "invoicing:what_is_refused invoicing",
        (INVOICES, "                Verdict::Refused { .. } | Verdict::NotTried => {\n                    stopped.insert(&message.aggregate_id);\n", "                Verdict::Refused { .. } | Verdict::NotTried => {\n"),
    ),
    mutant(
        "what was issued can be changed by its owner",
        "invoicing:nobody_changes invoicing",
        (INVOICES_SQL, "    before update or delete or truncate on invoices.invoices\n", "    before delete or truncate on invoices.invoices\n"),
    ),
    mutant(
        "a series can be counted on by two",
        "invoicing:nobody_changes invoicing",
        (INVOICES_SQL, "    before insert or update on invoices.series\n", "    before insert on invoices.series\n"),
    ),
    mutant(
        "a number is taken and nothing issued under it",
        "invoicing:nobody_changes invoicing",
        (INVOICES_SQL, "    after insert or update on invoices.series deferrable", "    after insert on invoices.series deferrable"),
    ),
    mutant(
        "a rate of tax that was changed is forgotten",
        "invoicing:an_order_is_invoiced_at_the_rate invoicing",
        (INVOICES_SQL, "select country, '-infinity', percent from catalog.tax_rates;", "select country, '-infinity', percent + 50 from catalog.tax_rates;"),
    ),
    mutant(
        "the worker sees who bought",
        "invoicing:the_starter_reads invoicing",
        (INVOICES_SQL, "            currency, tax_percent, net, tax, total, issued_at\n        ) on invoices.invoices to ordersaga_worker;", "            currency, tax_percent, net, tax, total, issued_at, html\n        ) on invoices.invoices to ordersaga_worker;"),
    ),
    mutant(
        "a buyer's name is obeyed by browsers",
        "units:a_name_that_is_markup units",
        ("relay/src/invoices/page.rs", 'const NAME: &str = "invoice.html";', 'const NAME: &str = "invoice.txt";'),
    ),
    mutant(
        "a PDF has another document in it than its CII",
        "invoicing:an_order_that_is_sold invoicing",
        (INVOICES, "let pdf = pdf::write(&paper, &cii)?;", "let pdf = pdf::write(&paper, &ubl)?;"),
    ),
    mutant(
        "a long description runs off the end of its page",
        "units:a_description_that_is_longer units",
        (SHEETS, "            self.keep_together(line.height);\n            self.put(line);\n", "            self.put(line);\n"),
    ),
    mutant(
        "a letter that a PDF cannot show is left out without a word",
        "units:a_letter_that_the_fonts units",
        (SHEETS, "if is_shown(letter) { letter } else { REPLACEMENT }", "if is_shown(letter) || letter != REPLACEMENT { letter } else { REPLACEMENT }"),
    ),
    mutant(
        "anybody's invoice is shown to anybody",
        "starter:a_customer_has_their_own_invoices starter",
        ("starter-api/src/app/orders/invoices.rs", "    let order = read::read(app, caller, parse_id(order_id)?).await?;\n    let issued = invoices::of(&app.database, order.order_id).await?;\n    let is_wanted", "    let _caller = caller;\n    let issued = invoices::of(&app.database, parse_id(order_id)?).await?;\n    let is_wanted"),
    ),
    mutant(
        "a mail that may have been sent twice is not seen",
        "prove:a_mail_that_may_be_sent_once prove",
        (MAILS_PROVEN, "when transmissions > 1 then", "when transmissions > 2 then"),
    ),
    mutant(
        "a cancel window that ends just behind a cancel holds its order up for ever",
        "replay:an_order_goes_on_that_is_cancelled saga:an_order_that_is_cancelled_just_before",
        (SAGA, "let window = token_of_timer();", "let window = forward.child_token();"),
    ),
    mutant(
        "a wait that ends just behind a cancel holds its order up for ever",
        "saga:an_order_that_is_cancelled_just_before",
        (SAGA, "let round = token_of_timer();", "let round = forward.child_token();"),
    ),
    mutant(
        "a parcel that the carrier does not have counts as delivered",
        "starter:a_parcel_that_is_not_on_its_way starter",
        (DELIVERED_SQL, "        when not orders.fulfilment_may_become(known.fulfilment_status, 'delivered')\n            then 'not-handed-over'\n", ""),
    ),
    mutant(
        "a parcel that is called back counts as delivered",
        "starter:a_parcel_that_is_not_on_its_way starter",
        (DELIVERED_SQL, "        when known.ending is not null then 'recalled'\n", ""),
    ),
    mutant(
        "a parcel is delivered before it was handed over",
        "starter:a_moment_that_cannot_be starter",
        (DELIVERED_SQL, "        when delivered_at < handed_over then 'too-early'\n", ""),
    ),
    mutant(
        "a parcel is delivered at a moment that has not come yet",
        "starter:a_moment_that_cannot_be starter",
        (DELIVERED_SQL, "        when delivered_at > clock_timestamp() then 'too-late'\n", ""),
    ),
    mutant(
        "an order whose parcel was delivered is taken back by its last run",
        "activities:an_order_whose_parcel_was_delivered activities",
        (DELIVERED_SQL, "known.status = 'completed' and known.fulfilment_status <> 'delivered' and exists (", "known.status = 'completed' and exists ("),
    ),
    mutant(
        "a customer reports their own parcel as delivered",
        "starter:whether_a_customer_has_the_parcel starter",
        ("starter-api/src/http/orders/deliver.rs", "Authorized<scope::DeliverOrders>", "Authorized<scope::ReadOrders>"),
    ),
    mutant(
        "a delivery that was reported before is said to be reported now",
        "starter:a_delivery_is_on_record_once starter",
        ("starter-api/src/app/orders/deliver.rs", "Ok(Delivering::Repeated) => true,", "Ok(Delivering::Repeated) => false,"),
    ),
    mutant(
        "any certificate of a mail server is trusted",
        "mail:signing_in::a_certificate_of_an_unknown_signer mail",
        (SMTP, "TlsParameters::builder(server.host.clone());", "TlsParameters::builder(server.host.clone()).dangerous_accept_invalid_certs(true);"),
    ),
    mutant(
        "who signs for the shop's mail server is not trusted",
        "mail:signing_in::a_mail_is_sent_encrypted mail",
        (SMTP, "Some(ca) => tls.add_root_certificate(ca.clone()),", "Some(_ca) => tls,"),
    ),
    mutant(
        "a mail server that encrypts from the beginning is spoken to in the clear",
        "mail:signing_in::a_server_that_does_not_encrypt mail",
        (SMTP, "filter(|_tls| *encryption == Encryption::Tls)", "filter(|_tls| *encryption == Encryption::Off)"),
    ),
    mutant(
        "a password that the mail server refuses has mails parked",
        "mail:signing_in::a_password_that_is_refused mail",
        (SMTP, 'fault.away("the server does not take user and password")', 'fault.of_mail("user and password")'),
    ),
    mutant(
        "an order's mail is previewed in another language than it is sent in",
        "mail:previewing::an_orders_mail mail",
        (PREVIEW, "locale.or(own_locale.as_deref())", "locale.or(own_locale.as_deref().filter(|_own| order.is_none()))"),
    ),
    mutant(
        "a preview is not in the language that is asked for",
        "mail:previewing::an_orders_mail mail",
        (PREVIEW, "locale.or(own_locale.as_deref())", "own_locale.as_deref().or(locale)"),
    ),
    mutant(
        "a mail is previewed of what has not happened to its order",
        "mail:previewing::an_order_to_which mail",
        (MAIL_FACTS, "and_then(MailTemplate::told_by) == Some(template)", "and_then(MailTemplate::told_by).is_some()"),
    ),
    mutant(
        "a mail whose sender has died is not missed",
        "prove:a_mail_whose_sender_has_died prove",
        (MAILS_PROVEN, "when state = 'sending' and next_try_at < now() - interval '1 hour' then", "when state = 'sending' and next_try_at < now() - interval '1 year' then"),
    ),
    mutant(
        "a mail that is put off without end is not seen",
        "prove:a_mail_that_is_put_off prove",
        (MAILS_PROVEN, "when state = 'queued' and deferrals > $1 then", "when state = 'queued' and deferrals > $1 + 1 then"),
    ),
    mutant(
        "a mail that nobody sends is not missed",
        "prove:a_mail_that_nobody_sends prove",
        (MAILS_PROVEN, "next_try_at < now() - interval '4 days' and not exists (", "next_try_at < now() - interval '4 years' and not exists ("),
    ),
    mutant(
        "a mail that waits for an earlier one of its order is missed",
        "prove:mails_that_were_sent_as prove",
        (MAILS_PROVEN, "and earlier.notification_id < this.notification_id", "and earlier.notification_id > this.notification_id"),
    ),
    mutant(
        "a PDF says that it is of another part of PDF/A",
        "units:a_pdf_has_the_cii units",
        (FACTUR_X, "xmp.pdfa_part(3)", "xmp.pdfa_part(2)"),
    ),
    mutant(
        "a PDF calls the CII in it by another name than Factur-X wants",
        "units:a_pdf_has_the_cii units",
        (FACTUR_X, 'const FILE: &str = "factur-x.xml";', 'const FILE: &str = "invoice.xml";'),
    ),
    mutant(
        "a discount looks like a charge in a PDF",
        "units:a_pdf_shows_what_the_page units",
        (PDF, 'format!("−{discount}")', 'format!("{discount}")'),
    ),
    mutant(
        "a credit note as PDF does not say which invoice it corrects",
        "units:a_pdf_shows_what_the_page units",
        (PDF, '("Refers to", refers),', '("Refers to", refers.filter(|_corrected| shown.shipping.is_none())),'),
    ),
    mutant(
        "the later pages of a PDF have no head above their lines",
        "units:many_lines_go_over units",
        (SHEETS, "        if !self.head.is_empty() {", "        if !self.head.is_empty() && self.pages.len() < 2 {"),
    ),
    mutant(
        "letters that are read from right to left are written from left to right",
        "units:a_letter_that_the_fonts units",
        (SHEETS, "            !is_turned && self.letters", "            let _turned = is_turned;\n            self.letters"),
    ),
    mutant(
        "a text that AMQP has no room for is left out",
        "units:a_message_with_a_text_that units",
        (
            AMQP,
            "            ShortString::try_new(text).map_err(|_| {\n"
            "                format!(\"its {what} has {} bytes, and AMQP has room for 255\", text.len())\n"
            "            })\n",
            "            let _unused = what;\n"
            "            Ok::<_, String>(ShortString::try_new(text).unwrap_or_default())\n",
        ),
    ),
    mutant(
        "a virtual host with a name that is too long ends the relay",
        "units:what_cannot_be_used_is_said units",
        (AMQP, "    ShortString::try_new(uri.vhost.as_str()).map_err(|_| UnusableAmqp::VirtualHost)?;\n", ""),
    ),
    mutant(
        "a number that is missing is not seen",
        "prove:a_number_that_nothing prove",
        ("worker/src/prove/invoices.rs", "when next_number - 1 <> documents or last <> documents", "when last <> documents"),
    ),
    mutant(
        "a recent proof leaves out an old order that has not ended",
        "prove:a_recent_proof_checks_an_old_order prove",
        (PROOF_SCOPE, "select order_id from orders.orders where status = 'processing'", "select order_id from orders.orders where status = 'processing' and updated_at >= $1"),
    ),
    mutant(
        "a recent proof leaves out the sums of the closed books",
        "prove:a_recent_proof_counts_on prove",
        ("worker/src/prove/books.rs", "select account, currency, debits - credits from ledger.closings", "select account, currency, debits - debits from ledger.closings"),
    ),
    mutant(
        "a recent proof takes the messages that it has not read for missing",
        "prove:a_recent_proof_compares prove",
        ("worker/src/prove/record.rs", "when position is null and sequence > coalesce(first, sequence)", "when position is null and sequence >= coalesce(first - 1, sequence)"),
    ),
]
