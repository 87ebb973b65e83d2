//! The complete content of a document: every output format is written from it alone.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::invoice::{Document, DocumentKind, Item};
use domain::{CountryCode, Sku, as_one_line};
use uuid::Uuid;

use super::settings::Seller;

/// The longest text of a line of a document.
const TEXT_MAX: usize = 200;

/// Who the goods were sold to.
///
/// Personal data: it is for the document alone, and has no `Debug`, so that no log shows it.
#[derive(Clone)]
pub struct Buyer {
    /// The recipient's name.
    pub name: String,
    /// The first line of the address.
    pub line1: Option<String>,
    /// The second one.
    pub line2: Option<String>,
    /// The town.
    pub city: Option<String>,
    /// The postal code.
    pub postal_code: Option<String>,
    /// The country.
    pub country: CountryCode,
}

/// A document, to be written down.
pub struct Paper<'a> {
    /// Which of the two it is.
    pub kind: DocumentKind,
    /// Its number.
    pub number: &'a str,
    /// The day on which it is issued, in UTC.
    pub issued_on: NaiveDate,
    /// The order that it is about.
    pub order_id: Uuid,
    /// Who issues it.
    pub seller: &'a Seller,
    /// Who gets it.
    pub buyer: &'a Buyer,
    /// Its lines and amounts.
    pub document: &'a Document,
    /// What the articles are called.
    pub names: &'a BTreeMap<Sku, String>,
    /// The day on which the parcel was handed over, where that is known.
    pub delivered_on: Option<NaiveDate>,
    /// Number and day of the document that it takes back, or takes something off.
    pub corrects: Option<(&'a str, NaiveDate)>,
}

/// A line in words.
pub(super) struct Wording {
    /// What it is about.
    pub(super) name: String,
    /// More about that.
    pub(super) description: Option<String>,
    /// The article's number, if it is one.
    pub(super) sku: Option<String>,
}

impl Paper<'_> {
    /// What a line is about, in words.
    pub(super) fn wording(&self, item: &Item) -> Wording {
        match item {
            Item::Article(sku) => {
                let name = self.names.get(sku).map(|name| as_one_line(name, TEXT_MAX));
                let name = name.filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| sku.to_string());
                Wording { name, description: None, sku: Some(sku.to_string()) }
            }
            Item::Goods(lines) => {
                let pieces =
                    lines.iter().map(|line| format!("{} × {}", line.quantity.pieces(), line.sku));
                let pieces = pieces.collect::<Vec<_>>().join(", ");
                let description = Some(pieces).filter(|pieces| !pieces.is_empty());
                Wording { name: "Goods".to_owned(), description, sku: None }
            }
            Item::Shipping => Wording { name: "Shipping".to_owned(), description: None, sku: None },
        }
    }
}

/// A text of somebody else's, as a document has it; nothing, if there is nothing in it.
pub(super) fn text(text: &str) -> Option<String> {
    Some(as_one_line(text, TEXT_MAX)).filter(|text| !text.is_empty())
}
