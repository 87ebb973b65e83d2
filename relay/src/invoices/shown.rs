//! The document's content as text, shared by HTML and PDF.

use chrono::NaiveDate;
use domain::invoice::{DocumentKind, VatCategory};
use domain::{Money, MoneyError};
use serde::Serialize;

use super::paper::{Paper, text};

/// Everything that a template can name and the PDF shows.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) title: &'static str,
    pub(super) number: String,
    pub(super) issued_on: NaiveDate,
    pub(super) order_id: String,
    pub(super) delivered_on: Option<NaiveDate>,
    pub(super) corrects: Option<Corrected>,
    pub(super) seller: Address,
    pub(super) vat_id: String,
    pub(super) iban: Option<String>,
    pub(super) bic: Option<String>,
    pub(super) buyer: Address,
    pub(super) currency: &'static str,
    pub(super) lines: Vec<ShownLine>,
    pub(super) line_total: String,
    pub(super) discount: Option<String>,
    pub(super) shipping: Option<String>,
    pub(super) net: String,
    pub(super) tax_percent: String,
    pub(super) is_export: bool,
    pub(super) tax: String,
    pub(super) total: String,
}

/// The document that this one corrects.
#[derive(Serialize)]
pub(super) struct Corrected {
    pub(super) number: String,
    pub(super) issued_on: NaiveDate,
}

/// A name, and the lines below it.
#[derive(Serialize)]
pub(super) struct Address {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
}

/// A line of the document.
#[derive(Serialize)]
pub(super) struct ShownLine {
    pub(super) sku: Option<String>,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) quantity: u32,
    pub(super) unit_price: String,
    pub(super) net: String,
}

impl Shown {
    /// The shown content of this document.
    ///
    /// **Errors.** The document's amounts cannot be added.
    pub(super) fn of(paper: &Paper<'_>) -> Result<Self, MoneyError> {
        let Paper { document, seller, buyer, .. } = paper;
        let title = match paper.kind {
            DocumentKind::Invoice => "Invoice",
            DocumentKind::CreditNote => "Credit note",
        };
        let lines = document.lines.iter().map(|line| {
            let wording = paper.wording(&line.item);
            ShownLine {
                sku: wording.sku,
                name: wording.name,
                description: wording.description,
                quantity: line.quantity,
                unit_price: amount(line.unit_price),
                net: amount(line.net),
            }
        });
        let category = VatCategory::of(document.tax_percent, seller.country, buyer.country);
        let stated = |money: Money| (!money.is_zero()).then(|| amount(money));
        let bank = seller.bank.as_ref();
        Ok(Self {
            title,
            number: paper.number.to_owned(),
            issued_on: paper.issued_on,
            order_id: paper.order_id.to_string(),
            delivered_on: paper.delivered_on,
            corrects: paper
                .corrects
                .map(|(number, issued_on)| Corrected { number: number.to_owned(), issued_on }),
            seller: sellers_address(paper),
            vat_id: seller.vat_id.clone(),
            iban: bank.map(|bank| bank.iban.to_string()),
            bic: bank.and_then(|bank| bank.bic.clone()),
            buyer: buyers_address(paper),
            currency: document.currency().code(),
            lines: lines.collect(),
            line_total: amount(document.line_total()?),
            discount: stated(document.discount),
            shipping: stated(document.shipping),
            net: amount(document.net),
            tax_percent: document.tax_percent.normalize().to_string(),
            is_export: category == VatCategory::Export,
            tax: amount(document.tax),
            total: amount(document.total),
        })
    }
}

fn sellers_address(paper: &Paper<'_>) -> Address {
    let seller = paper.seller;
    let town = [seller.postal_code.as_deref(), Some(seller.city.as_str())];
    let lines = [Some(seller.street.clone()), joined(town), Some(seller.country.to_string())];
    Address { name: seller.name.clone(), lines: lines.into_iter().flatten().collect() }
}

fn buyers_address(paper: &Paper<'_>) -> Address {
    let buyer = paper.buyer;
    let line = |line: Option<&str>| line.and_then(text);
    let town = joined([buyer.postal_code.as_deref(), buyer.city.as_deref()]);
    let lines = [
        line(buyer.line1.as_deref()),
        line(buyer.line2.as_deref()),
        line(town.as_deref()),
        Some(buyer.country.to_string()),
    ];
    Address {
        name: text(&buyer.name).unwrap_or_default(),
        lines: lines.into_iter().flatten().collect(),
    }
}

/// Joins the parts that are present with a space.
fn joined(parts: [Option<&str>; 2]) -> Option<String> {
    let there: Vec<_> = parts.into_iter().flatten().collect();
    (!there.is_empty()).then(|| there.join(" "))
}

fn amount(money: Money) -> String {
    money.amount().to_string()
}
