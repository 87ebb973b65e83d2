//! Receives an event of the payment provider.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::{ProviderEvent, json};
use sqlx::PgPool;

use crate::app::App;
use crate::app::webhooks::signature::{StripeMode, StripeWebhooks, TOLERANCE_SECONDS, Unsigned};
use crate::error::{Kind, OrProblem, Problem};

/// Verifies and stores an event for the workers. When this returns, it is stored durably.
///
/// **Repeats.** Idempotent: an event is stored once, however often it is sent.
///
/// **Errors.** 404 if no webhooks are accepted; 400 if the signature is wrong or too old, or the
/// body is not an event; 422 for an event of another account or mode.
pub(crate) async fn receive(
    app: &App,
    webhooks: Option<&StripeWebhooks>,
    signature: Option<&[u8]>,
    body: &[u8],
) -> Result<(), Problem> {
    let webhooks = webhooks.ok_or_else(not_taken)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let event = read(webhooks, signature, body, now)?;
    keep(&app.database, &event).await
}

/// The event, if it is to be stored.
pub(crate) fn read(
    webhooks: &StripeWebhooks,
    signature: Option<&[u8]>,
    body: &[u8],
    now: u64,
) -> Result<ProviderEvent, Problem> {
    let signature = signature.ok_or_else(|| refused(Unsigned::Unreadable))?;
    webhooks.verify(signature, body, now).map_err(refused)?;
    let event = json::from_slice::<ProviderEvent>(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        tracing::warn!(line, column, "Stripe has sent an event that cannot be read");
        Problem::malformed("", format!("This is no event (line {line}, column {column})."))
    })?;
    let is_of_this_mode = event.is_live == (webhooks.mode() == StripeMode::Live);
    if event.is_of_another_account || !is_of_this_mode {
        let (id, is_live) = (&event.id, event.is_live);
        tracing::warn!(id, is_live, "an event of another account or mode is not taken");
        return Err(of_another_account(webhooks.mode()));
    }
    Ok(event)
}

async fn keep(database: &PgPool, event: &ProviderEvent) -> Result<(), Problem> {
    let kept = sqlx::query!(
        "insert into inbox.events (event_id, type, object_kind, object_id, happened_at)
         values ($1, $2, $3, $4, $5) on conflict do nothing",
        event.id,
        event.event_type,
        event.object_kind,
        event.object_id,
        event.happened_at,
    )
    .execute(database)
    .await
    .or_problem("keeping an event of the payment provider")?;
    let (id, event_type, is_new) = (&event.id, &event.event_type, kept.rows_affected() > 0);
    tracing::debug!(id, event_type, is_new, "an event of the payment provider is kept");
    Ok(())
}

fn not_taken() -> Problem {
    let detail = "This shop takes no webhooks: it has no signing secret to check them by.";
    Problem::new(Kind::WebhooksNotTaken, detail)
}

fn refused(why: Unsigned) -> Problem {
    let detail = match why {
        Unsigned::Unreadable => {
            "Stripe-Signature is one header of the form t=…,v1=…, with a moment and at least one \
             signature."
                .to_owned()
        }
        Unsigned::Forged => {
            "None of this shop's secrets has signed this body, byte for byte, for this moment."
                .to_owned()
        }
        Unsigned::Untimely => format!(
            "The signature's timestamp differs by more than {TOLERANCE_SECONDS} seconds from the \
             current time."
        ),
    };
    Problem::new(Kind::SignatureRefused, detail)
}

fn of_another_account(mode: StripeMode) -> Problem {
    let mode = mode.name();
    let detail = format!("This shop takes events of its own account alone, and in {mode} mode.");
    Problem::new(Kind::EventOfAnotherAccount, detail)
}
