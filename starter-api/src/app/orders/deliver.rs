//! Records that a parcel was delivered.

use chrono::{DateTime, Utc};
use domain::OrderId;
use domain::event::Delivered;
use serde::Serialize;
use sqlx::types::Json;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::input::Moment;
use crate::app::orders::{parse_id, read};
use crate::error::{Breach, Kind, OrProblem, Problem};
use crate::identity::Caller;

/// The report that an order was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliverOrder {
    order_id: OrderId,
    /// Now, if absent.
    delivered_at: Option<DateTime<Utc>>,
}

/// A recorded delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryResource {
    /// The order.
    order_id: OrderId,
    /// The carrier's tracking number.
    #[schema(example = "GB123456789")]
    tracking: String,
    /// When the customer received the parcel, according to the first report.
    delivered_at: DateTime<Utc>,
    /// Who reported it first, as named by their token.
    #[schema(example = "web-shop")]
    reported_by: String,
}

/// A delivery recorded by this report or by an earlier one.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) resource: DeliveryResource,
    /// Whether it was recorded before.
    pub(crate) replayed: bool,
}

/// The outcome of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
enum Delivering {
    /// It was recorded.
    Recorded,
    /// An earlier report was recorded, and counts.
    Repeated,
    /// The carrier does not have the parcel.
    NotHandedOver,
    /// The parcel is being recalled.
    Recalled,
    /// The time is before the parcel was handed over.
    TooEarly,
    /// The time is in the future.
    TooLate,
}

#[derive(Debug, thiserror::Error)]
#[error("a delivery has the outcome `{0}`, or is not valid as stored")]
struct BadOutcome(String);

impl DeliverOrder {
    /// Validates the input.
    pub(crate) fn check(order_id: &str, delivered_at: Option<Moment>) -> Result<Self, Problem> {
        let delivered_at = delivered_at.map(|Moment(moment)| moment);
        Ok(Self { order_id: parse_id(order_id)?, delivered_at })
    }
}

/// Records a delivery. The customer is notified by mail, if the shop sends mails.
///
/// **Repeats.** The first report of an order counts; later ones get the same answer, whatever they
/// say.
///
/// **Errors.** 409 if the parcel is not on its way; 422 if the time is impossible.
pub(crate) async fn deliver(
    app: &App,
    caller: &Caller,
    command: DeliverOrder,
) -> Result<Reported, Problem> {
    const DOING: &str = "recording a delivery";
    let DeliverOrder { order_id, delivered_at } = command;
    read::read(app, caller, order_id).await?;
    let row = sqlx::query!(
        r#"select outcome as "outcome!", delivery as "delivery?: Json<Delivered>"
           from orders.deliver($1, $2, $3)"#,
        order_id.uuid(),
        delivered_at,
        caller.name(),
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)?;
    let replayed = match row.outcome.parse::<Delivering>() {
        Ok(Delivering::Recorded) => false,
        Ok(Delivering::Repeated) => true,
        Ok(Delivering::NotHandedOver) => return Err(not_under_way(NOT_HANDED_OVER)),
        Ok(Delivering::Recalled) => return Err(not_under_way(RECALLED)),
        Ok(Delivering::TooEarly) => {
            return Err(cannot_be("a moment at which the carrier had the parcel already"));
        }
        Ok(Delivering::TooLate) => return Err(cannot_be("a moment that is not in the future")),
        Err(_unknown) => return Err(Problem::internal(DOING, &BadOutcome(row.outcome))),
    };
    let Some(Json(delivery)) = row.delivery else {
        return Err(Problem::internal(DOING, &BadOutcome(row.outcome)));
    };
    if !replayed {
        tracing::info!(%order_id, by = caller.name(), "a delivery was reported");
    }
    let Delivered { tracking, delivered_at, reported_by } = delivery;
    let resource = DeliveryResource { order_id, tracking, delivered_at, reported_by };
    Ok(Reported { resource, replayed })
}

const NOT_HANDED_OVER: &str = "The carrier does not have the order's parcel: it has not been \
                               handed over, or was called back. Nothing was done.";

const RECALLED: &str = "The order is being undone, and its parcel called back. Nothing was done. \
                        If the customer has the parcel all the same, have an operator decide \
                        `accept-as-done` once the order asks, and report the delivery then.";

fn not_under_way(detail: &'static str) -> Problem {
    Problem::new(Kind::ParcelNotUnderWay, detail)
}

fn cannot_be(detail: &'static str) -> Problem {
    let pointer = "/delivered_at".to_owned();
    Problem::invalid(vec![Breach { pointer, detail: detail.to_owned() }])
}
