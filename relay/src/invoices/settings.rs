//! The settings of invoices: whether they are issued, when, and by which seller.

use std::fmt::Display;
use std::path::PathBuf;

use domain::bank::Iban;
use domain::{CountryCode, line_of_text};

use super::page::TemplateError;

/// When an order's invoice is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InvoiceAt {
    /// Once the parcel is handed over and the sale is booked
    Shipment,
    /// Once the payment is taken
    Payment,
}

/// The settings of invoices and credit notes.
#[derive(Clone, Debug, clap::Args)]
pub struct InvoiceArgs {
    /// When an order's invoice is issued
    #[arg(long, env = "RELAY_INVOICE_AT", value_enum, default_value = "shipment")]
    pub invoice_at: InvoiceAt,
    /// The seller's name, who issues invoices and credit notes; without any of the seller's
    /// settings, none are issued
    #[arg(long, env = NAME)]
    pub invoice_seller_name: Option<String>,
    /// The seller's street and number
    #[arg(long, env = STREET)]
    pub invoice_seller_street: Option<String>,
    /// The seller's town
    #[arg(long, env = CITY)]
    pub invoice_seller_city: Option<String>,
    /// The seller's postal code
    #[arg(long, env = POSTAL_CODE)]
    pub invoice_seller_postal_code: Option<String>,
    /// The seller's country, as ISO 3166-1 names it in two letters
    #[arg(long, env = COUNTRY)]
    pub invoice_seller_country: Option<String>,
    /// The seller's VAT identifier, with its country prefix
    #[arg(long, env = VAT_ID)]
    pub invoice_seller_vat_id: Option<String>,
    /// The IBAN of the seller's bank account
    #[arg(long, env = IBAN)]
    pub invoice_seller_iban: Option<String>,
    /// The BIC of that bank
    #[arg(long, env = BIC, requires = "invoice_seller_iban")]
    pub invoice_seller_bic: Option<String>,
    /// The prefix of invoice numbers; a new prefix begins a new series
    #[arg(long, env = PREFIX, default_value = "INV-")]
    pub invoice_prefix: String,
    /// The prefix of credit note numbers
    #[arg(long, env = CREDIT_PREFIX, default_value = "CN-")]
    pub credit_note_prefix: String,
    /// The shop's own template for the HTML documents
    #[arg(long, env = "RELAY_INVOICE_TEMPLATE")]
    pub invoice_template: Option<PathBuf>,
}

const NAME: &str = "RELAY_INVOICE_SELLER_NAME";
const STREET: &str = "RELAY_INVOICE_SELLER_STREET";
const CITY: &str = "RELAY_INVOICE_SELLER_CITY";
const POSTAL_CODE: &str = "RELAY_INVOICE_SELLER_POSTAL_CODE";
const COUNTRY: &str = "RELAY_INVOICE_SELLER_COUNTRY";
const VAT_ID: &str = "RELAY_INVOICE_SELLER_VAT_ID";
const IBAN: &str = "RELAY_INVOICE_SELLER_IBAN";
const BIC: &str = "RELAY_INVOICE_SELLER_BIC";
const PREFIX: &str = "RELAY_INVOICE_PREFIX";
const CREDIT_PREFIX: &str = "RELAY_CREDIT_NOTE_PREFIX";

/// The maximum length of a setting of the seller.
const LINE_MAX: usize = 100;

/// The maximum length of a series' prefix.
const PREFIX_MAX: usize = 20;

/// The seller, who issues the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seller {
    /// Its name.
    pub name: String,
    /// Street and number.
    pub street: String,
    /// The town.
    pub city: String,
    /// The postal code, if the country has any.
    pub postal_code: Option<String>,
    /// The country.
    pub country: CountryCode,
    /// The VAT identifier, which also identifies the seller's series.
    pub vat_id: String,
    /// The bank account, if set.
    pub bank: Option<Bank>,
}

/// A bank account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    /// Its number.
    pub iban: Iban,
    /// The bank's identifier.
    pub bic: Option<String>,
}

/// Why no documents can be issued with these settings.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    /// The seller's settings are incomplete.
    #[error("invoices are issued in a seller's name, and {} not set", are(.0))]
    Incomplete(Vec<&'static str>),
    /// A setting cannot be used.
    #[error("{setting}: {what}")]
    Setting {
        /// The environment variable.
        setting: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A sample document is invalid.
    #[error("no invoice can be issued with the seller's settings: {0}")]
    Refused(#[from] super::xml::Unwritable),
    /// A sample of a document cannot be written as PDF.
    #[error(transparent)]
    Pdf(#[from] super::pdf::PdfError),
}

/// `A is`, `A and B are`.
fn are(names: &[&'static str]) -> String {
    format!("{} {}", names.join(" and "), if names.len() == 1 { "is" } else { "are" })
}

fn set(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

fn wrong(setting: &'static str, what: impl Display) -> InvoiceError {
    InvoiceError::Setting { setting, what: what.to_string() }
}

fn line(setting: &'static str, value: &str) -> Result<String, InvoiceError> {
    line_of_text(value, LINE_MAX).map_err(|error| wrong(setting, error))
}

impl InvoiceArgs {
    /// The seller; `None` if no seller's setting is set.
    ///
    /// **Errors.** The settings are incomplete or invalid.
    pub fn seller(&self) -> Result<Option<Seller>, InvoiceError> {
        let name = set(self.invoice_seller_name.as_deref());
        let street = set(self.invoice_seller_street.as_deref());
        let city = set(self.invoice_seller_city.as_deref());
        let postal_code = set(self.invoice_seller_postal_code.as_deref());
        let country = set(self.invoice_seller_country.as_deref());
        let vat_id = set(self.invoice_seller_vat_id.as_deref());
        let iban = set(self.invoice_seller_iban.as_deref());
        if [name, street, city, postal_code, country, vat_id, iban].iter().all(Option::is_none) {
            return Ok(None);
        }
        let known = country.map(CountryCode::parse).transpose();
        let known = known.map_err(|error| wrong(COUNTRY, error))?;
        let needs_code = known.is_none_or(CountryCode::needs_postal_code);
        let needed = [(NAME, name), (STREET, street), (CITY, city), (VAT_ID, vat_id)];
        let codes = needs_code.then_some((POSTAL_CODE, postal_code));
        let needed = needed.into_iter().chain(codes).chain([(COUNTRY, country)]);
        let missing = needed.filter(|(_, value)| value.is_none()).map(|(setting, _)| setting);
        let missing: Vec<_> = missing.collect();
        let (Some(name), Some(street), Some(city), Some(vat_id), Some(country), true) =
            (name, street, city, vat_id, known, missing.is_empty())
        else {
            return Err(InvoiceError::Incomplete(missing));
        };
        Ok(Some(Seller {
            name: line(NAME, name)?,
            street: line(STREET, street)?,
            city: line(CITY, city)?,
            postal_code: postal_code.map(|code| line(POSTAL_CODE, code)).transpose()?,
            country,
            vat_id: vat_identifier(vat_id)?,
            bank: iban.map(|iban| self.bank(iban)).transpose()?,
        }))
    }

    fn bank(&self, iban: &str) -> Result<Bank, InvoiceError> {
        let bic = set(self.invoice_seller_bic.as_deref());
        Ok(Bank {
            iban: Iban::parse(iban).map_err(|error| wrong(IBAN, error))?,
            bic: bic.map(|bic| line(BIC, bic)).transpose()?,
        })
    }

    /// The prefixes of invoice and credit note numbers.
    ///
    /// **Errors.** They are equal, or one of them is invalid.
    pub fn prefixes(&self) -> Result<[&str; 2], InvoiceError> {
        let Self { invoice_prefix, credit_note_prefix, .. } = self;
        for (setting, prefix) in [(PREFIX, invoice_prefix), (CREDIT_PREFIX, credit_note_prefix)] {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
            let ends_well = prefix.bytes().next_back().is_some_and(|last| !last.is_ascii_digit());
            if !ends_well || prefix.len() > PREFIX_MAX || !prefix.bytes().all(is_part) {
                let what = "1 to 20 letters, digits, `-`, `_`, `.` or `/`, and no digit at the end";
                return Err(wrong(setting, what));
            }
        }
        if invoice_prefix == credit_note_prefix {
            return Err(wrong(CREDIT_PREFIX, "credit notes have another prefix than invoices"));
        }
        Ok([invoice_prefix.as_str(), credit_note_prefix.as_str()])
    }
}

/// Parses a VAT identifier and removes its spaces.
fn vat_identifier(text: &str) -> Result<String, InvoiceError> {
    let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let plain = plain.to_ascii_uppercase();
    let has_country = plain.bytes().take(2).all(|byte| byte.is_ascii_uppercase());
    let is_plain = plain.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if has_country && is_plain && (4..=20).contains(&plain.len()) {
        Ok(plain)
    } else {
        Err(wrong(VAT_ID, "a VAT identifier begins with its country, such as GB123456789"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        invoices: InvoiceArgs,
    }

    const WHOLE: [&str; 6] = [
        "--invoice-seller-name=The Shop",
        "--invoice-seller-street=1 High Street",
        "--invoice-seller-city=London",
        "--invoice-seller-postal-code=SW1Y 4JH",
        "--invoice-seller-country=GB",
        "--invoice-seller-vat-id=gb 123 4567 89",
    ];

    fn args(given: &[&str]) -> InvoiceArgs {
        Program::try_parse_from(["program"].iter().chain(given)).unwrap().invoices
    }

    fn told(given: &[&str]) -> String {
        let args = args(given);
        let read = args.prefixes().and_then(|_prefixes| args.seller());
        read.map_or_else(|error| error.to_string(), |seller| format!("{seller:?}")) + "\n"
    }

    #[test]
    fn without_a_seller_nothing_is_issued_and_half_a_seller_is_refused() {
        assert_eq!(args(&[]).seller().unwrap(), None);
        assert_eq!(args(&["--invoice-seller-name="]).seller().unwrap(), None);
        let seller = args(&WHOLE).seller().unwrap().unwrap();
        assert_eq!((seller.vat_id.as_str(), seller.bank), ("GB123456789", None));
        let mut told_of = String::new();
        for left_out in 0..WHOLE.len() {
            let mut given = WHOLE.to_vec();
            given.remove(left_out);
            told_of += &told(&given);
        }
        told_of += &told(&["--invoice-seller-iban=GB82WEST12345698765432"]);
        expect![[r"
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_NAME is not set
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_STREET is not set
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_CITY is not set
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_POSTAL_CODE is not set
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_COUNTRY is not set
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_VAT_ID is not set
            invoices are issued in a seller's name, and RELAY_INVOICE_SELLER_NAME and RELAY_INVOICE_SELLER_STREET and RELAY_INVOICE_SELLER_CITY and RELAY_INVOICE_SELLER_VAT_ID and RELAY_INVOICE_SELLER_POSTAL_CODE and RELAY_INVOICE_SELLER_COUNTRY are not set
        "]]
        .assert_eq(&told_of);
    }

    #[test]
    fn what_cannot_be_a_sellers_is_refused_by_the_settings_name() {
        let mut told_of = String::new();
        for wrong in [
            "--invoice-seller-country=UK",
            "--invoice-seller-vat-id=123456789",
            "--invoice-seller-iban=GB82",
            "--invoice-seller-city=a\nb",
            "--invoice-prefix=INV-2026",
            "--credit-note-prefix=INV-",
        ] {
            let name = wrong.split_once('=').unwrap().0;
            let rest = WHOLE.into_iter().filter(|one| !one.starts_with(name));
            told_of += &told(&rest.chain([wrong]).collect::<Vec<_>>());
        }
        expect![[r"
            RELAY_INVOICE_SELLER_COUNTRY: `UK` is not an ISO 3166-1 alpha-2 country code, such as GB or DE
            RELAY_INVOICE_SELLER_VAT_ID: a VAT identifier begins with its country, such as GB123456789
            RELAY_INVOICE_SELLER_IBAN: an IBAN has 15 to 34 letters and digits, and its check digits are right
            RELAY_INVOICE_SELLER_CITY: a text of 1 to 100 characters on one line
            RELAY_INVOICE_PREFIX: 1 to 20 letters, digits, `-`, `_`, `.` or `/`, and no digit at the end
            RELAY_CREDIT_NOTE_PREFIX: credit notes have another prefix than invoices
        "]]
        .assert_eq(&told_of);
    }
}
