//! Records stock movements: goods received, found or written off.

use domain::{Quantity, Sku};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use strum::IntoStaticStr;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::products::parse_sku;
use crate::app::stock::{Row, Stock};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// The reason of a stock movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Reason {
    /// A delivery was received.
    Received,
    /// More was counted than was recorded.
    Found,
    /// Broken, stolen or lost.
    WrittenOff,
}

/// A stock movement, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MovementInput<'a> {
    /// The number of pieces; the reason determines the direction.
    pub(crate) quantity: i64,
    pub(crate) reason: Reason,
    /// The document that the movement is recorded under, such as a delivery note.
    pub(crate) reference: &'a str,
    pub(crate) note: Option<&'a str>,
}

/// A stock movement, checked.
struct Movement {
    pieces: i64,
    reason: Reason,
    reference: String,
    note: Option<String>,
}

/// The outcome of a movement.
#[derive(Debug)]
pub(crate) enum Moved {
    /// It was recorded now.
    Recorded(Stock),
    /// It had been recorded before.
    Repeated(Stock),
}

/// Changes the stock, and posts the cost to the ledger.
///
/// **Repeats.** Idempotent: the same reference of the same article is the same movement.
///
/// **Errors.** 409 if there are not enough unreserved pieces, or if the reference was used for
/// another movement.
pub(crate) async fn move_goods(
    app: &App,
    caller: &Caller,
    sku: &str,
    input: &MovementInput<'_>,
) -> Result<Moved, Problem> {
    const DOING: &str = "moving goods";
    let sku = parse_sku(sku)?;
    let mut rules = Rules::default();
    let movement = Movement::check(&mut rules, input);
    let movement = rules.kept(movement)?;
    let mut transaction = app.database.begin().await.or_problem(DOING)?;
    let recorded = record(&mut transaction, &sku, &movement, caller.name()).await?;
    if let Some(movement_id) = recorded {
        apply(&mut transaction, &sku, &movement).await?;
        book(&mut transaction, movement_id).await?;
    } else {
        check_same(&mut transaction, &sku, &movement).await?;
    }
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
    let moved = if recorded.is_some() { Moved::Recorded } else { Moved::Repeated };
    stock.try_into().map(moved)
}

impl Movement {
    fn check(rules: &mut Rules, input: &MovementInput<'_>) -> Option<Self> {
        let pieces = rules.check("/quantity", Quantity::new(input.quantity));
        let reference = rules.check("/reference", line_of_text(input.reference, 100));
        let note = input.note.map(|note| line_of_text(note, 200));
        let note = rules.check_given("/note", note);
        pieces?;
        Some(Self { pieces: input.quantity, reason: input.reason, reference: reference?, note })
    }
}

/// Records the movement; `None` if its reference was recorded before. A concurrent request with the
/// same reference blocks here until the first one commits.
async fn record(
    transaction: &mut PgConnection,
    sku: &Sku,
    movement: &Movement,
    by: &str,
) -> Result<Option<i64>, Problem> {
    sqlx::query_scalar!(
        "insert into inventory.movements (sku, quantity, reason, reference, moved_by, note)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (sku, reference) where reference is not null do nothing
         returning movement_id",
        sku.as_str(),
        movement.pieces,
        <&str>::from(movement.reason),
        movement.reference,
        by,
        movement.note,
    )
    .fetch_optional(transaction)
    .await
    .or_problem("entering a movement")
}

/// Changes the stock. CHECK constraints keep reserved pieces in stock.
async fn apply(
    transaction: &mut PgConnection,
    sku: &Sku,
    movement: &Movement,
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
        Ok(done) if done.rows_affected() == 0 => Err(Problem::product_not_found()),
        Ok(_done) => Ok(()),
        Err(sqlx::Error::Database(error))
            if matches!(
                error.constraint(),
                Some("stock_never_negative" | "stock_reserved_is_on_hand")
            ) =>
        {
            Err(Problem::new(
                Kind::NotInStock,
                "The pieces are not in stock, or are reserved for orders. Nothing was done.",
            ))
        }
        Err(error) => Err(Problem::of_database("changing an article's stock", &error)),
    }
}

/// Posts the cost through a database function, which knows the accounts: the starter's role has no
/// right to write to the ledger.
async fn book(transaction: &mut PgConnection, movement_id: i64) -> Result<(), Problem> {
    sqlx::query!("select ledger.book_movement($1)", movement_id)
        .execute(transaction)
        .await
        .map(|_booked| ())
        .or_problem("booking a movement")
}

/// Checks that the movement recorded under this reference is the same.
async fn check_same(
    transaction: &mut PgConnection,
    sku: &Sku,
    movement: &Movement,
) -> Result<(), Problem> {
    let same = sqlx::query_scalar!(
        r#"select quantity = $3 and reason = $4 as "same!" from inventory.movements
           where sku = $1 and reference = $2"#,
        sku.as_str(),
        movement.reference,
        movement.pieces,
        <&str>::from(movement.reason),
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
