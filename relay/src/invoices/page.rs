//! A document for people, as HTML.
//!
//! Whatever somebody else has written, such as the buyer's name, is escaped: the template's name says
//! that it is HTML. An error of the template tells where it is, and no value.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use domain::Money;
use domain::invoice::{DocumentKind, VatCategory};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::paper::{Paper, text};

/// Its ending has everything escaped.
const NAME: &str = "invoice.html";

/// The template that the program brings.
const BUILT_IN: &str = include_str!("../../templates/invoice/invoice.html");

/// Why a page cannot be written. It tells no personal data.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The shop's own template cannot be read.
    #[error("the template {} cannot be read", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// It is wrong at this line.
    #[error("the template for invoices is wrong in line {line}: {what}")]
    Wrong {
        /// Counted from 1; 0 if that is not known.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A document's amounts cannot be added up.
    #[error(transparent)]
    Money(#[from] domain::MoneyError),
}

/// Writes pages.
pub struct Pages {
    environment: Environment<'static>,
}

impl Pages {
    /// With the shop's own template, or with the one that the program brings.
    ///
    /// **Errors.** It cannot be read, or is none.
    pub fn open(own: Option<&Path>) -> Result<Self, TemplateError> {
        let source = match own {
            None => BUILT_IN.to_owned(),
            Some(path) => fs::read_to_string(path)
                .map_err(|error| TemplateError::File(path.to_owned(), error))?,
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_template_owned(NAME, source).map_err(|error| wrong(&error))?;
        Ok(Self { environment })
    }

    /// Writes the document down.
    ///
    /// **Errors.** The template names something that a document has not.
    pub fn write(&self, paper: &Paper<'_>) -> Result<String, TemplateError> {
        let shown = Serde(Shown::of(paper)?);
        let template = self.environment.get_template(NAME);
        let written = template.and_then(|template| template.render(shown));
        written.map_err(|error| wrong(&error))
    }
}

/// Without the error's detail, which may repeat a value.
fn wrong(error: &minijinja::Error) -> TemplateError {
    TemplateError::Wrong { line: error.line().unwrap_or_default(), what: error.kind().to_string() }
}

/// Everything that a template can name.
#[derive(Serialize)]
struct Shown {
    title: &'static str,
    number: String,
    issued_on: NaiveDate,
    order_id: String,
    delivered_on: Option<NaiveDate>,
    corrects: Option<Corrected>,
    seller: Address,
    vat_id: String,
    iban: Option<String>,
    bic: Option<String>,
    buyer: Address,
    currency: &'static str,
    lines: Vec<ShownLine>,
    line_total: String,
    discount: Option<String>,
    shipping: Option<String>,
    net: String,
    tax_percent: String,
    is_export: bool,
    tax: String,
    total: String,
}

#[derive(Serialize)]
struct Corrected {
    number: String,
    issued_on: NaiveDate,
}

#[derive(Serialize)]
struct Address {
    name: String,
    lines: Vec<String>,
}

#[derive(Serialize)]
struct ShownLine {
    sku: Option<String>,
    name: String,
    description: Option<String>,
    quantity: u32,
    unit_price: String,
    net: String,
}

impl Shown {
    fn of(paper: &Paper<'_>) -> Result<Self, TemplateError> {
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

/// The parts that there are, with a blank between.
fn joined(parts: [Option<&str>; 2]) -> Option<String> {
    let there: Vec<_> = parts.into_iter().flatten().collect();
    (!there.is_empty()).then(|| there.join(" "))
}

fn amount(money: Money) -> String {
    money.amount().to_string()
}
