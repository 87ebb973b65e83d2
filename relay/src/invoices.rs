//! Invoices and credit notes.
//!
//! The sink `invoices` issues a document for each event that calls for one: an invoice when an
//! order is sold, a credit note for each refund, and one for an order that is reversed after it was
//! invoiced. The content is computed by `domain::invoice` from the record alone. It is written
//! according to the European standard (EN 16931) in both of its syntaxes, as HTML, and as a PDF
//! that embeds the CII, and kept permanently.
//!
//! - A number is taken in the transaction that stores the document, so a failure consumes no
//!   number, and a redelivered event finds its document.
//! - A document that the standard does not allow is refused here: the message is parked, an
//!   operator is told why, and all other orders continue.
//! - The buyer is personal data. The law requires it in the document; it appears nowhere else: in
//!   no log, metric, error or message.
//!
//! `docs/invoices.md` is for operators.

mod occasion;
mod page;
mod paper;
mod pdf;
mod record;
mod settings;
mod shown;
mod store;
mod xml;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::NaiveDate;
use domain::invoice::{Document, DocumentKind, InvalidDocument, Occasion, tax_percent_of};
use domain::{Currency, Money, OrderLine, Quantity, Sku, Totals};
use metrics::counter;
pub use page::{Pages, TemplateError};
pub use paper::{Buyer, Paper};
pub use pdf::PdfError;
use runtime::database::{DatabaseFault, alarm};
use rust_decimal::Decimal;
pub use settings::{Bank, InvoiceArgs, InvoiceAt, InvoiceError, Seller};
use sqlx::error::DatabaseError;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
pub use xml::{Unwritable, Written, write};

use self::record::OnRecord;
use self::store::{Issued, Kept};
use crate::{Message, Sink, Verdict};

/// The sink's name.
pub const SINK: &str = "invoices";

/// Documents issued.
const ISSUED: &str = "ordersaga_invoices_issued_total";

/// The sink `invoices`.
pub struct Invoices {
    db: PgPool,
    at: InvoiceAt,
    seller: Seller,
    prefixes: [String; 2],
    pages: Pages,
}

/// Why no document was issued.
enum Failure {
    /// It cannot succeed without a person. The text contains no personal data.
    Refused(String),
    /// Another process issued the same document at the same time.
    Overtaken,
    /// The database.
    Database(sqlx::Error),
}

/// The result of handling an occasion.
enum Outcome {
    /// Its document exists, issued now or before.
    Issued,
    /// There is no document to correct.
    NothingToIssue,
}

/// A document without a number yet.
struct Draft<'a> {
    occasion: Occasion,
    document: Document,
    corrects: Option<&'a Issued>,
    delivered_on: Option<NaiveDate>,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<InvalidDocument> for Failure {
    fn from(error: InvalidDocument) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<Unwritable> for Failure {
    fn from(error: Unwritable) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<PdfError> for Failure {
    fn from(error: PdfError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl Invoices {
    /// Reads the settings and tries them with a sample, without connecting. `None` if no seller is
    /// set.
    ///
    /// **Errors.** The seller's settings are incomplete, or no document could be issued with them.
    pub fn open(args: &InvoiceArgs, db: PgPool) -> Result<Option<Self>, InvoiceError> {
        let prefixes = args.prefixes()?.map(str::to_owned);
        let Some(seller) = args.seller()? else { return Ok(None) };
        let pages = Pages::open(args.invoice_template.as_deref())?;
        let sink = Self { db, at: args.invoice_at, seller, prefixes, pages };
        sink.try_out()?;
        metrics::describe_counter!(ISSUED, "Invoices and credit notes that were issued");
        for kind in [DocumentKind::Invoice, DocumentKind::CreditNote] {
            counter!(ISSUED, "kind" => kind.name()).absolute(0);
        }
        Ok(Some(sink))
    }

    /// Issues a sample of both documents, so that a mistake in the settings or in the template is
    /// found before an order is sold.
    fn try_out(&self) -> Result<(), InvoiceError> {
        let document = sample().map_err(|error| InvoiceError::Setting {
            setting: "the sample",
            what: error.to_string(),
        })?;
        let buyer = Buyer {
            name: "A Customer".to_owned(),
            line1: Some("A street".to_owned()),
            line2: None,
            city: None,
            postal_code: None,
            country: self.seller.country,
        };
        let day = NaiveDate::default();
        for (kind, corrects, delivered_on) in [
            (DocumentKind::Invoice, None, Some(day)),
            (DocumentKind::CreditNote, Some(("1", day)), None),
        ] {
            let paper = Paper {
                kind,
                number: "1",
                issued_on: day,
                order_id: Uuid::nil(),
                seller: &self.seller,
                buyer: &buyer,
                document: &document,
                names: &BTreeMap::new(),
                delivered_on,
                corrects,
            };
            let Written { cii, .. } = write(&paper)?;
            self.pages.write(&paper)?;
            pdf::write(&paper, &cii)?;
        }
        Ok(())
    }

    async fn take(&self, message: &Message) -> Verdict {
        let occasion = match occasion::of(message, self.at) {
            Ok(Some(occasion)) => occasion,
            Ok(None) => return Verdict::NotWanted,
            Err(_) => {
                let why = "the event does not say which refund it is about".to_owned();
                return Verdict::Refused { why };
            }
        };
        match self.issue(message, occasion).await {
            Ok(Outcome::Issued) => Verdict::Delivered,
            Ok(Outcome::NothingToIssue) => Verdict::NotWanted,
            Err(Failure::Refused(why)) => Verdict::Refused { why },
            Err(Failure::Overtaken) => {
                let why = "another process issues the same document".to_owned();
                Verdict::Unavailable { retry_after: None, why }
            }
            Err(Failure::Database(error)) => of_database(&error),
        }
    }

    /// Issues the occasion's document, in one transaction.
    ///
    /// **Repeats.** A document that was issued before is not issued again.
    async fn issue(&self, message: &Message, occasion: Occasion) -> Result<Outcome, Failure> {
        let order_id = message.aggregate_id.parse::<Uuid>();
        let order_id =
            order_id.map_err(|_none| Failure::Refused("it is about no order".to_owned()))?;
        let mut transaction = self.db.begin().await?;
        let db: &mut PgConnection = &mut transaction;
        if store::find(db, order_id, occasion).await?.is_some() {
            return Ok(Outcome::Issued);
        }
        let sold = store::find(db, order_id, Occasion::Sale).await?;
        if occasion == Occasion::Reversal && sold.is_none() {
            return Ok(Outcome::NothingToIssue);
        }
        let order = record::order(db, order_id).await?;
        match occasion {
            Occasion::Sale => {
                self.sell(db, &order, Some(message.created_at.date_naive())).await?;
            }
            Occasion::Reversal => {
                let Some(sold) = &sold else { return Ok(Outcome::NothingToIssue) };
                let document = Document::of_order(&order.lines, &order.totals, sold.tax_percent)?;
                self.correct(db, &order, occasion, document, sold).await?;
            }
            Occasion::Refund(number) => {
                // An order sold before invoices were set up is invoiced now.
                let sold =
                    if let Some(sold) = sold { sold } else { self.sell(db, &order, None).await? };
                let (parts, goods) = record::refund(db, order_id, number).await?;
                let document = Document::of_refund(parts, &goods, sold.tax_percent)?;
                self.correct(db, &order, occasion, document, &sold).await?;
            }
            Occasion::RefundFailed(number) => {
                let credited = store::find(db, order_id, Occasion::Refund(number)).await?;
                let Some(credited) = credited else { return Ok(Outcome::NothingToIssue) };
                let (parts, goods) = record::refund(db, order_id, number).await?;
                let document = Document::of_refund(parts, &goods, credited.tax_percent)?;
                self.correct(db, &order, occasion, document, &credited).await?;
            }
        }
        transaction.commit().await?;
        counter!(ISSUED, "kind" => occasion.kind().name()).increment(1);
        Ok(Outcome::Issued)
    }

    /// Issues the invoice of an order, whose total equals the amount captured.
    async fn sell(
        &self,
        db: &mut PgConnection,
        order: &OnRecord,
        on: Option<NaiveDate>,
    ) -> Result<Issued, Failure> {
        let OnRecord { totals, captured, .. } = order;
        if *captured != totals.total {
            let why = format!("{captured} were taken, and the order comes to {}", totals.total);
            return Err(Failure::Refused(why));
        }
        let rates = record::rates(db, order.ship_to, order.placed_at).await?;
        let document = Document::of_order(&order.lines, totals, tax_percent_of(totals, rates)?)?;
        let delivered_on = on.filter(|_day| self.at == InvoiceAt::Shipment);
        let draft = Draft { occasion: Occasion::Sale, document, corrects: None, delivered_on };
        self.keep(db, order, &draft).await
    }

    /// Issues a document that subtracts from another one, or adds to it again.
    async fn correct(
        &self,
        db: &mut PgConnection,
        order: &OnRecord,
        occasion: Occasion,
        document: Document,
        corrected: &Issued,
    ) -> Result<Issued, Failure> {
        let draft = Draft { occasion, document, corrects: Some(corrected), delivered_on: None };
        self.keep(db, order, &draft).await
    }

    /// Assigns a number to a document, renders it and stores it.
    async fn keep(
        &self,
        db: &mut PgConnection,
        order: &OnRecord,
        draft: &Draft<'_>,
    ) -> Result<Issued, Failure> {
        let Draft { occasion, document, corrects, delivered_on } = draft;
        let kind = occasion.kind();
        let names = record::names(db, &order.lines).await?;
        let seller = self.seller.vat_id.as_str();
        let number = store::take_number(db, seller, kind, self.prefix(kind)).await?;
        let number = number.ok_or_else(|| {
            let why = format!("the prefix {} is not that of a {}", self.prefix(kind), kind.name());
            Failure::Refused(why)
        })?;
        let paper = Paper {
            kind,
            number: &number.text,
            issued_on: number.at.date_naive(),
            order_id: order.order_id,
            seller: &self.seller,
            buyer: &order.buyer,
            document,
            names: &names,
            delivered_on: *delivered_on,
            corrects: corrects.map(|it| (it.number.as_str(), it.at.date_naive())),
        };
        let Written { ubl, cii, proof: _proof } = write(&paper)?;
        let html = self.pages.write(&paper)?;
        let pdf = pdf::write(&paper, &cii)?;
        let kept = Kept {
            order_id: order.order_id,
            occasion: *occasion,
            seller,
            corrects: corrects.map(|it| it.invoice_id),
            document,
            ubl: &ubl,
            cii: &cii,
            html: &html,
            pdf: &pdf,
        };
        let invoice_id = store::keep(db, &number, &kept).await?.ok_or(Failure::Overtaken)?;
        let tax_percent = document.tax_percent;
        Ok(Issued { invoice_id, number: number.text, at: number.at, tax_percent })
    }

    fn prefix(&self, kind: DocumentKind) -> &str {
        let [invoices, credit_notes] = &self.prefixes;
        match kind {
            DocumentKind::Invoice => invoices,
            DocumentKind::CreditNote => credit_notes,
        }
    }
}

#[async_trait]
impl Sink for Invoices {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        let mut stopped = BTreeSet::new();
        // While the database is unavailable, it is tried once per batch.
        let mut away = None;
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            let verdict = if stopped.contains(&message.aggregate_id) {
                Verdict::NotTried
            } else if let Some(away) = &away {
                Verdict::clone(away)
            } else {
                self.take(message).await
            };
            match &verdict {
                Verdict::Delivered | Verdict::NotWanted => {}
                Verdict::Refused { .. } | Verdict::NotTried => {
                    stopped.insert(&message.aggregate_id);
                }
                Verdict::Unavailable { .. } | Verdict::NotTaken { .. } => {
                    stopped.insert(&message.aggregate_id);
                    away = Some(verdict.clone());
                }
            }
            verdicts.push(verdict);
        }
        verdicts
    }
}

/// Maps a database error to a verdict. Its text may contain values, so it is not passed on.
fn of_database(error: &sqlx::Error) -> Verdict {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
    let unavailable = |why| Verdict::Unavailable { retry_after: None, why };
    match DatabaseFault::of(error) {
        DatabaseFault::Transient => unavailable(format!("the database does not answer ({code})")),
        DatabaseFault::Misdeployed => {
            alarm("issuing an invoice", error);
            unavailable(format!("the database does not fit ({code})"))
        }
        DatabaseFault::Broken => {
            Verdict::Refused { why: format!("the database refuses it ({code})") }
        }
    }
}

/// Two pieces for 20.00, a discount of a tenth, a zero tax rate, and 5.00 for shipping.
fn sample() -> Result<Document, Box<dyn std::error::Error>> {
    let euros = |cents| Money::new(Decimal::new(cents, 2), Currency::EUR);
    let (unit_price, subtotal) = (euros(1_000)?, euros(2_000)?);
    let sku = Sku::parse("SAMPLE")?;
    let quantity = Quantity::new(2)?;
    let lines = [OrderLine { sku, quantity, unit_price, line_total: subtotal }];
    let total = euros(2_300)?;
    let totals =
        Totals { subtotal, discount: euros(200)?, shipping: euros(500)?, tax: euros(0)?, total };
    Ok(Document::of_order(&lines, &totals, Decimal::ZERO)?)
}

#[cfg(test)]
mod tests;
