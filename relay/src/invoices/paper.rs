//! The complete content of a document: every output format is written from it alone.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::invoice::{Document, DocumentKind, Item};
use domain::{CountryCode, Sku, as_one_line};
use uuid::Uuid;

use super::settings::Seller;

/// The maximum length of a text in a line of a document.
const TEXT_MAX: usize = 200;

/// The buyer.
///
/// Personal data: used in the document only. It has no `Debug`, so that no log shows it.
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

/// A document with everything needed to render it.
pub struct Paper<'a> {
    /// Invoice or credit note.
    pub kind: DocumentKind,
    /// Its number.
    pub number: &'a str,
    /// The day on which it is issued, in UTC.
    pub issued_on: NaiveDate,
    /// The order.
    pub order_id: Uuid,
    /// The issuer.
    pub seller: &'a Seller,
    /// The recipient.
    pub buyer: &'a Buyer,
    /// Its lines and amounts.
    pub document: &'a Document,
    /// The names of the articles.
    pub names: &'a BTreeMap<Sku, String>,
    /// The day on which the parcel was handed over, if known.
    pub delivered_on: Option<NaiveDate>,
    /// Number and day of the document that it corrects.
    pub corrects: Option<(&'a str, NaiveDate)>,
}

/// A line's texts.
pub(super) struct Wording {
    /// The subject.
    pub(super) name: String,
    /// A description.
    pub(super) description: Option<String>,
    /// The article's number, if the line is an article.
    pub(super) sku: Option<String>,
}

impl Paper<'_> {
    /// The texts of a line.
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

/// Cleans user input for a document; `None` if nothing is left.
pub(super) fn text(text: &str) -> Option<String> {
    Some(as_one_line(text, TEXT_MAX)).filter(|text| !text.is_empty())
}
