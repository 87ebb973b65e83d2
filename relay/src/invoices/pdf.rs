//! A document for people and programs at once: a PDF/A-3b that embeds the CII, which makes it
//! Factur-X (ZUGFeRD) in the profile EN 16931.
//!
//! It has the content of the HTML page, in the same order. The output is reproducible: its only
//! timestamp is the day of issue, and its ids are derived from its content.

mod factur_x;
mod sheets;

use domain::MoneyError;

use self::sheets::{Cell, Column, Sheets, Style};
use super::paper::Paper;
use super::shown::{Shown, ShownLine};

/// The left and right margins, in points.
const LEFT: f32 = 57.0;
const RIGHT: f32 = 538.0;

const ALL: Column = Column::left(LEFT, RIGHT);
const BUYER: Column = Column::left(LEFT, 290.0);
const SELLER: Column = Column::left(330.0, RIGHT);
const TERM: Column = Column::left(LEFT, 117.0);
const MEANING: Column = Column::left(122.0, RIGHT);

const ARTICLE: Column = Column::left(LEFT, 132.0);
const NAME: Column = Column::left(137.0, 335.0);
const PIECES: Column = Column::right(340.0, 385.0);
const PRICE: Column = Column::right(390.0, 460.0);
const NET: Column = Column::right(465.0, RIGHT);
/// The label of an amount below the table.
const SUM: Column = Column::left(LEFT, 460.0);

/// Why a document cannot be written as PDF. Contains no personal data.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// The document's amounts cannot be added.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A built-in font cannot be used.
    #[error("a font of the PDF cannot be used")]
    Font,
    /// It would not conform to PDF/A-3b.
    #[error("the PDF cannot be written as PDF/A-3b: {0}")]
    NotArchival(String),
    /// Its metadata cannot be embedded.
    #[error("the PDF's metadata cannot be written: {0}")]
    Metadata(String),
}

/// Renders the document, with its CII embedded.
///
/// **Errors.** Its amounts cannot be added, or PDF/A-3b cannot express it.
pub(super) fn write(paper: &Paper<'_>, cii: &str) -> Result<Vec<u8>, PdfError> {
    let shown = Shown::of(paper)?;
    let mut sheets = Sheets::open(format!("{} {}", shown.title, shown.number))?;
    parties(&mut sheets, &shown);
    particulars(&mut sheets, &shown);
    lines(&mut sheets, &shown);
    sums(&mut sheets, &shown);
    notes(&mut sheets, &shown);
    factur_x::write(&sheets, &shown, cii)
}

/// The buyer, and the seller beside it.
fn parties(sheets: &mut Sheets, shown: &Shown) {
    let Shown { buyer, seller, vat_id, .. } = shown;
    sheets.row(&[
        Cell::new(BUYER, Style::Strong, &buyer.name),
        Cell::new(SELLER, Style::Strong, &seller.name),
    ]);
    let sellers = format!("{}\nVAT {vat_id}", seller.lines.join("\n"));
    sheets.row(&[
        Cell::new(BUYER, Style::Plain, &buyer.lines.join("\n")),
        Cell::new(SELLER, Style::Plain, &sellers),
    ]);
}

/// The document's kind, number, date and subject.
fn particulars(sheets: &mut Sheets, shown: &Shown) {
    sheets.gap(28.0);
    let title = format!("{} {}", shown.title, shown.number);
    sheets.row(&[Cell::new(ALL, Style::Title, &title)]);
    sheets.gap(4.0);
    let refers = shown.corrects.as_ref().map(|it| format!("{} of {}", it.number, it.issued_on));
    let particulars = [
        ("Date", Some(shown.issued_on.to_string())),
        ("Order", Some(shown.order_id.clone())),
        ("Delivery", shown.delivered_on.map(|day| day.to_string())),
        ("Refers to", refers),
    ];
    for (term, meaning) in particulars {
        if let Some(meaning) = meaning {
            sheets.row(&[
                Cell::new(TERM, Style::Pale, term),
                Cell::new(MEANING, Style::Plain, &meaning),
            ]);
        }
    }
    sheets.gap(16.0);
}

/// The lines, with the table's head repeated on each page.
fn lines(sheets: &mut Sheets, shown: &Shown) {
    sheets.begin_table(&[
        Cell::new(ARTICLE, Style::Strong, "Article"),
        Cell::new(PIECES, Style::Strong, "Pieces"),
        Cell::new(PRICE, Style::Strong, "Price"),
        Cell::new(NET, Style::Strong, shown.currency),
    ]);
    for line in &shown.lines {
        let ShownLine { sku, name, description, quantity, unit_price, net } = line;
        sheets.row(&[
            Cell::new(ARTICLE, Style::Plain, sku.as_deref().unwrap_or_default()),
            Cell::new(NAME, Style::Plain, name),
            Cell::new(PIECES, Style::Plain, &quantity.to_string()),
            Cell::new(PRICE, Style::Plain, unit_price),
            Cell::new(NET, Style::Plain, net),
        ]);
        if let Some(description) = description {
            sheets.row(&[Cell::new(NAME, Style::Pale, description)]);
        }
    }
    sheets.end_table();
}

/// The totals, on one page.
fn sums(sheets: &mut Sheets, shown: &Shown) {
    let is_more_than_goods = shown.discount.is_some() || shown.shipping.is_some();
    let discount = shown.discount.as_ref().map(|discount| format!("−{discount}"));
    let sums = [
        ("Goods".to_owned(), is_more_than_goods.then(|| shown.line_total.clone())),
        ("Discount".to_owned(), discount),
        ("Shipping".to_owned(), shown.shipping.clone()),
        ("Without VAT".to_owned(), Some(shown.net.clone())),
        (format!("VAT {} %", shown.tax_percent), Some(shown.tax.clone())),
    ];
    sheets.keep_together(110.0);
    sheets.gap(4.0);
    for (what, amount) in sums {
        if let Some(amount) = amount {
            sheets
                .row(&[Cell::new(SUM, Style::Plain, &what), Cell::new(NET, Style::Plain, &amount)]);
        }
    }
    sheets.rule();
    sheets.row(&[
        Cell::new(SUM, Style::Strong, &format!("Total in {}", shown.currency)),
        Cell::new(NET, Style::Strong, &shown.total),
    ]);
}

fn notes(sheets: &mut Sheets, shown: &Shown) {
    sheets.gap(20.0);
    let export = "Exported from the European Union, and therefore free of VAT.";
    let bic = shown.bic.as_ref().map(|bic| format!(", BIC {bic}")).unwrap_or_default();
    let account = shown.iban.as_ref();
    let account = account.map(|iban| format!("{}, IBAN {iban}{bic}", shown.seller.name));
    let notes = [
        shown.is_export.then(|| export.to_owned()),
        Some("Nothing is left to be paid.".to_owned()),
        account,
    ];
    for note in notes.into_iter().flatten() {
        sheets.row(&[Cell::new(ALL, Style::Pale, &note)]);
    }
}
