//! `POST /v1/products/{sku}/stock-movements`: goods came in, were found, or are gone.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{Quantity, Sku};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::extract::{Body, Path};
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, Kind, OrProblem, Problem, WriteProblems};
use crate::products::not_sold;
use crate::rules::{Rules, line_of_text};
use crate::state::State;
use crate::stock::{Row, Stock};

/// Why there is more or less of an article.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// A delivery came in.
    Received,
    /// More was counted than was known of.
    Found,
    /// Broken, stolen or lost.
    WrittenOff,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Found => "found",
            Self::WrittenOff => "written-off",
        }
    }
}

/// A movement of the warehouse, as its paper has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Movement {
    /// How many pieces; the reason says which way.
    #[schema(minimum = 1, maximum = 100_000, example = 100)]
    pub quantity: i64,
    /// Why.
    pub reason: Reason,
    /// The delivery note or the count that says so. The same one of the same article is the same
    /// movement, however often it is sent.
    #[schema(min_length = 1, max_length = 100, example = "delivery note 4711")]
    pub reference: String,
    /// What else is to be known; it is kept for good, so it names no person.
    #[schema(min_length = 1, max_length = 200, example = "two cartons wet")]
    pub note: Option<String>,
}

struct Checked {
    pieces: i64,
    reason: Reason,
    reference: String,
    note: Option<String>,
}

/// Moves goods, and books what they have cost.
#[utoipa::path(
    post, path = "/v1/products/{sku}/stock-movements", tag = "stock",
    security(("bearer" = ["stock:write"])),
    params(("sku" = Sku, Path, description = "The article's number", example = "85123A")),
    request_body(content = Movement, description = "How many pieces, which way and why"),
    responses(
        (status = 201, description = "The stock as it is now", body = Stock),
        (status = 200, description = "This movement was known; the stock as it is now",
         body = Stock),
        (status = 404, description = "The shop does not sell it", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The pieces are not there, or are set aside for orders; or \
                                      the paper belongs to another movement", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn shift(
    May { caller, .. }: May<scope::WriteStock>,
    Shared(state): Shared<State>,
    Path(sku): Path<String>,
    Body(written): Body<Movement>,
) -> Result<Response, Problem> {
    const DOING: &str = "moving goods";
    let sku = Sku::parse(sku).map_err(|_no_sku| not_sold())?;
    let mut rules = Rules::default();
    let movement = written.checked(&mut rules);
    let movement = rules.kept(movement)?;
    let mut transaction = state.database.begin().await.or_problem(DOING)?;
    let entered = enter(&mut transaction, &sku, &movement, caller.name()).await?;
    let status = if let Some(movement_id) = entered {
        apply(&mut transaction, &sku, &movement).await?;
        book(&mut transaction, movement_id).await?;
        StatusCode::CREATED
    } else {
        known(&mut transaction, &sku, &movement).await?;
        StatusCode::OK
    };
    let stock = sqlx::query_as!(
        Row,
        r#"select sku, on_hand, reserved, on_hand - reserved as "available!", sold
           from inventory.stock where sku = $1"#,
        sku.as_str(),
    )
    .fetch_one(&mut *transaction)
    .await
    .or_problem(DOING)?;
    transaction.commit().await.or_problem(DOING)?;
    Ok((status, Json(Stock::try_from(stock)?)).into_response())
}

impl Movement {
    fn checked(&self, rules: &mut Rules) -> Option<Checked> {
        let pieces = rules.check("/quantity", Quantity::new(self.quantity));
        let reference = rules.check("/reference", line_of_text(&self.reference, 100));
        let note = self.note.as_deref().map(|note| line_of_text(note, 200));
        let note = rules.check_given("/note", note);
        pieces?;
        Some(Checked { pieces: self.quantity, reason: self.reason, reference: reference?, note })
    }
}

/// Puts the movement on record; nothing, if its paper was entered before. Of two that come at
/// once, the second waits here for the first.
async fn enter(
    transaction: &mut PgConnection,
    sku: &Sku,
    movement: &Checked,
    by: &str,
) -> Result<Option<i64>, Problem> {
    sqlx::query_scalar!(
        "insert into inventory.movements (sku, quantity, reason, reference, moved_by, note)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (sku, reference) do nothing
         returning movement_id",
        sku.as_str(),
        movement.pieces,
        movement.reason.as_str(),
        movement.reference,
        by,
        movement.note,
    )
    .fetch_optional(transaction)
    .await
    .or_problem("entering a movement")
}

/// Changes the stock. The row's own constraints hold what is set aside, at the moment it changes.
async fn apply(
    transaction: &mut PgConnection,
    sku: &Sku,
    movement: &Checked,
) -> Result<(), Problem> {
    let pieces = match movement.reason {
        Reason::Received | Reason::Found => movement.pieces,
        Reason::WrittenOff => movement.pieces.saturating_neg(),
    };
    let applied = sqlx::query!(
        "insert into inventory.stock as stock (sku, on_hand, received)
         select sku, 0, 0 from catalog.products where sku = $1
         on conflict (sku) do nothing",
        sku.as_str(),
    )
    .execute(&mut *transaction)
    .await;
    applied.or_problem("opening an article's stock")?;
    let applied = sqlx::query!(
        "update inventory.stock set on_hand = on_hand + $2, received = received + $2
         where sku = $1",
        sku.as_str(),
        pieces,
    )
    .execute(transaction)
    .await;
    match applied {
        Ok(done) if done.rows_affected() == 0 => Err(not_sold()),
        Ok(_done) => Ok(()),
        Err(sqlx::Error::Database(error))
            if matches!(
                error.constraint(),
                Some("stock_never_negative" | "stock_reserved_is_on_hand")
            ) =>
        {
            Err(Problem::new(
                Kind::NotInStock,
                "So many pieces are not there, or are set aside for orders. Nothing was done.",
            ))
        }
        Err(error) => Err(Problem::of_database("changing an article's stock", &error)),
    }
}

/// Books what the pieces have cost the shop, on which account the database knows: the starter
/// itself may not write to the books.
async fn book(transaction: &mut PgConnection, movement_id: i64) -> Result<(), Problem> {
    sqlx::query!("select ledger.book_movement($1)", movement_id)
        .execute(transaction)
        .await
        .map(|_booked| ())
        .or_problem("booking a movement")
}

/// Whether the paper that was entered before says the same.
async fn known(
    transaction: &mut PgConnection,
    sku: &Sku,
    movement: &Checked,
) -> Result<(), Problem> {
    let same = sqlx::query_scalar!(
        r#"select quantity = $3 and reason = $4 as "same!" from inventory.movements
           where sku = $1 and reference = $2"#,
        sku.as_str(),
        movement.reference,
        movement.pieces,
        movement.reason.as_str(),
    )
    .fetch_one(transaction)
    .await
    .or_problem("looking up a movement")?;
    if same {
        return Ok(());
    }
    Err(Problem::new(
        Kind::ReferenceReused,
        "This article has another movement under the same reference. Nothing was done.",
    ))
}
