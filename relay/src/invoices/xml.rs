//! A document in the two syntaxes of the European standard for invoices, EN 16931.
//!
//! The model is built with the amounts that the document states; nothing is recomputed. Only a
//! document that passes all rules of the standard is written: [`Written`] keeps the proof. The
//! rules tolerate a difference of less than one unit of the currency between the tax and rate times
//! base, which covers any rounding; that the total is exactly the charge is shown by
//! `domain::invoice` and `prove`.

use chrono::NaiveDate;
use domain::Money;
use domain::invoice::{DocumentKind, Line, VatCategory};
use en16931::invoice::{
    Code, CreditTransfer, Delivery, DocumentAllowanceCharge, DocumentTotals, Item, LineVat, Party,
    PaymentInstructions, PaymentMeans, PostalAddress, PrecedingInvoice, PriceDetails, VatBreakdown,
};
use en16931::{
    Date, DocumentReference, En16931, Invoice, InvoiceAmount, InvoiceLine, Percentage, Quantity,
    UnitPriceAmount, Validated, profiles,
};
use en16931_formats::{Syntax, write as write_as};

use super::paper::{Buyer, Paper, text};
use super::settings::Seller;

/// UNTDID 1001: a commercial invoice, and a credit note.
const TYPES: [&str; 2] = ["380", "381"];
/// UNTDID 4461: a credit transfer.
const CREDIT_TRANSFER: &str = "30";
/// UNTDID 5189 and 7161: a discount, and freight.
const REASONS: [&str; 2] = ["95", "FC"];
/// UN/ECE Recommendation 20: one piece.
const PIECE: &str = "C62";
/// The reason for exemption of an export, in the CEF's list.
const EXPORT: &str = "VATEX-EU-G";

/// A document in UBL and in CII.
pub struct Written {
    /// The proof that it satisfies all rules of the standard.
    pub proof: Validated<En16931>,
    /// As UBL 2.1.
    pub ubl: String,
    /// As UN/CEFACT CII.
    pub cii: String,
}

/// Why a document cannot be written by the standard. Contains no personal data.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// The standard allows two decimals.
    #[error("EN 16931 allows two decimals, and {0} has more")]
    TooFine(Money),
    /// The standard's calendar ends with the year 9999.
    #[error("EN 16931 has no such day as {0}")]
    NoSuchDay(NaiveDate),
    /// It violates rules of the standard.
    #[error("it violates rules of EN 16931: {0}")]
    AgainstRules(String),
    /// A syntax cannot express a part of it.
    #[error("not all of it can be written as {syntax}: {lost}")]
    Lost {
        /// The syntax.
        syntax: Syntax,
        /// The path of the part in the document.
        lost: String,
    },
}

/// Writes the document in both syntaxes.
///
/// **Errors.** The standard cannot express it, or it violates one of its rules.
pub fn write(paper: &Paper<'_>) -> Result<Written, Unwritable> {
    let proof = Validated::<En16931>::new(model(paper)?).map_err(|rejected| {
        let broken = rejected.report().fatal();
        let broken = broken.map(|finding| format!("{} at {}", finding.rule, finding.path));
        Unwritable::AgainstRules(broken.collect::<Vec<_>>().join(", "))
    })?;
    let [ubl, cii] = [Syntax::Ubl, Syntax::Cii].map(|syntax| whole(&proof, syntax));
    Ok(Written { ubl: ubl?, cii: cii?, proof })
}

fn whole(proof: &Validated<En16931>, syntax: Syntax) -> Result<String, Unwritable> {
    let written = write_as(proof, syntax);
    let lost = written.entries.iter().filter(|entry| entry.is_loss());
    let lost: Vec<_> = lost.map(|entry| entry.path.as_str()).collect();
    if lost.is_empty() {
        Ok(written.xml)
    } else {
        Err(Unwritable::Lost { syntax, lost: lost.join(", ") })
    }
}

fn model(paper: &Paper<'_>) -> Result<Invoice, Unwritable> {
    let Paper { document, seller, buyer, .. } = paper;
    let [invoice, credit_note] = TYPES;
    let type_code = match paper.kind {
        DocumentKind::Invoice => invoice,
        DocumentKind::CreditNote => credit_note,
    };
    let category = VatCategory::of(document.tax_percent, seller.country, buyer.country);
    let rate = Some(Percentage::new(document.tax_percent));
    let vat = LineVat { category: category.code().into(), rate };
    let specification = profiles::EN16931.specification_id;
    let issued_on = date(paper.issued_on)?;
    let currency = document.currency().code();
    let mut model = Invoice::builder(specification, paper.number, issued_on, type_code, currency)
        .purchase_order_reference(DocumentReference::new(paper.order_id.to_string()))
        .seller(seller_party(seller))
        .buyer(buyer_party(buyer))
        .vat_breakdown(breakdown(paper, category)?)
        .totals(totals(paper)?);
    for (number, line) in (1_u32..).zip(&document.lines) {
        model = model.line(model_line(paper, number, line, &vat)?);
    }
    let [discount, freight] = REASONS;
    if !document.discount.is_zero() {
        model = model.allowance(whole_document(document.discount, "Discount", discount, &vat)?);
    }
    if !document.shipping.is_zero() {
        model = model.charge(whole_document(document.shipping, "Shipping", freight, &vat)?);
    }
    if let Some(day) = paper.delivered_on {
        model = model.delivery(Delivery { date: Some(date(day)?), ..Delivery::default() });
    }
    let mut model = match paper.kind {
        DocumentKind::Invoice => model.build(),
        DocumentKind::CreditNote => model.credit_note().build(),
    };
    if paper.kind == DocumentKind::Invoice {
        model.payment = payment(seller);
    }
    if let Some((number, day)) = paper.corrects {
        let reference = DocumentReference::new(number);
        model.preceding_invoices.push(PrecedingInvoice { reference, issue_date: Some(date(day)?) });
    }
    Ok(model)
}

fn model_line(
    paper: &Paper<'_>,
    number: u32,
    line: &Line,
    vat: &LineVat,
) -> Result<InvoiceLine, Unwritable> {
    let wording = paper.wording(&line.item);
    let item = Item {
        name: Some(wording.name),
        description: wording.description,
        seller_identifier: wording.sku,
        ..Item::default()
    };
    let price = PriceDetails {
        net_price: UnitPriceAmount::new(line.unit_price.amount()),
        ..PriceDetails::default()
    };
    let quantity = Quantity::new(line.quantity.into());
    let (category, net) = (vat.category.clone(), amount(line.net)?);
    let line = InvoiceLine::new(number.to_string(), "", quantity, PIECE, net, category, vat.rate);
    Ok(line.with_item(item).with_price(price))
}

/// An allowance or charge on the whole document.
fn whole_document(
    money: Money,
    reason: &str,
    reason_code: &str,
    vat: &LineVat,
) -> Result<DocumentAllowanceCharge, Unwritable> {
    Ok(DocumentAllowanceCharge {
        amount: amount(money)?,
        base_amount: None,
        percentage: None,
        vat: vat.clone(),
        reason: Some(reason.to_owned()),
        reason_code: Some(Code::new(reason_code)),
    })
}

fn breakdown(paper: &Paper<'_>, category: VatCategory) -> Result<VatBreakdown, Unwritable> {
    let document = paper.document;
    let exemption_reason_code = match category {
        VatCategory::Export => Some(Code::new(EXPORT)),
        VatCategory::Standard | VatCategory::ZeroRated => None,
    };
    Ok(VatBreakdown {
        taxable_amount: amount(document.net)?,
        tax_amount: amount(document.tax)?,
        category: Code::new(category.code()),
        rate: Some(Percentage::new(document.tax_percent)),
        exemption_reason: None,
        exemption_reason_code,
    })
}

/// Documents are issued after payment, so the amount due is zero.
fn totals(paper: &Paper<'_>) -> Result<DocumentTotals, Unwritable> {
    let document = paper.document;
    let stated = |money: Money| (!money.is_zero()).then(|| amount(money)).transpose();
    let lines = document.lines.iter().map(|line| amount(line.net));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let line_total = InvoiceAmount::checked_sum(lines);
    Ok(DocumentTotals {
        line_total: line_total.map_err(|_too_large| Unwritable::TooFine(document.net))?,
        allowance_total: stated(document.discount)?,
        charge_total: stated(document.shipping)?,
        taxable_total: amount(document.net)?,
        vat_total: Some(amount(document.tax)?),
        gross_total: amount(document.total)?,
        paid: stated(document.total)?,
        due: InvoiceAmount::ZERO,
        ..DocumentTotals::default()
    })
}

fn seller_party(seller: &Seller) -> Party {
    let address = PostalAddress {
        line1: Some(seller.street.clone()),
        city: Some(seller.city.clone()),
        post_code: seller.postal_code.clone(),
        country: Some(Code::new(seller.country.to_string())),
        ..PostalAddress::default()
    };
    Party::new(seller.name.clone(), address).with_vat_identifier(seller.vat_id.clone())
}

fn buyer_party(buyer: &Buyer) -> Party {
    let part = |part: Option<&str>| part.and_then(text);
    let address = PostalAddress {
        line1: part(buyer.line1.as_deref()),
        line2: part(buyer.line2.as_deref()),
        city: part(buyer.city.as_deref()),
        post_code: part(buyer.postal_code.as_deref()),
        country: Some(Code::new(buyer.country.to_string())),
        ..PostalAddress::default()
    };
    Party::new(text(&buyer.name).unwrap_or_default(), address)
}

fn payment(seller: &Seller) -> Option<PaymentInstructions> {
    let bank = seller.bank.as_ref()?;
    let account = CreditTransfer {
        account_identifier: Some(bank.iban.to_string()),
        account_name: Some(seller.name.clone()),
        provider_identifier: bank.bic.clone(),
    };
    Some(PaymentInstructions {
        means_code: Some(Code::new(CREDIT_TRANSFER)),
        means: Some(PaymentMeans::CreditTransfer(vec![account])),
        ..PaymentInstructions::default()
    })
}

fn amount(money: Money) -> Result<InvoiceAmount, Unwritable> {
    let exact = InvoiceAmount::from_decimal_exact(money.amount());
    exact.map_err(|_too_fine| Unwritable::TooFine(money))
}

fn date(day: NaiveDate) -> Result<Date, Unwritable> {
    Date::parse(&day.to_string()).map_err(|_no_such_day| Unwritable::NoSuchDay(day))
}
