//! Reads a supplier's price list: a CSV file with the columns `sku`, `name` and, for example,
//! `unit_price_gbp`, whose suffix is the currency of all its prices.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr as _;

use activities::catalogue::Article;
use csv::StringRecord;
use domain::{Currency, IdError, Money, MoneyError, Sku, line_of_text, written_amount};
use rust_decimal::Decimal;

/// Prefix of the price column, before the currency.
const PRICE: &str = "unit_price_";

/// Maximum length of an article's name, in characters; the same limit as in the API.
const NAME_LENGTH_MAX: usize = 200;

/// Why a price list cannot be read. Nothing is imported from it.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableList {
    /// The file is missing, or is not CSV.
    #[error("the list cannot be read")]
    Csv(#[from] csv::Error),
    /// The header does not name the three columns.
    #[error("the list's first line must name `sku`, `name` and `unit_price_` with a currency")]
    Columns,
    /// A line is not a valid article.
    #[error("line {line} of the list is not an article")]
    Line {
        /// Counted from 1, including the header.
        line: u64,
        /// What is wrong with it.
        source: NotAnArticle,
    },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum NotAnArticle {
    /// The SKU is invalid.
    #[error(transparent)]
    Sku(#[from] IdError),
    /// The name cannot be displayed or stored.
    #[error("the name is not a text of 1 to {NAME_LENGTH_MAX} characters on one line")]
    Name,
    /// The price is not a number.
    #[error("the price is not a decimal number")]
    Price,
    /// The price is not a valid amount of money.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// Parses a percentage, written like the amounts in a price list.
///
/// **Errors.** Not a valid percentage; the message is for the person who wrote it.
pub fn percent(text: &str) -> Result<Decimal, &'static str> {
    let percent = written_amount(text).filter(|percent| !percent.is_sign_negative());
    percent.ok_or("a percentage is written in digits, with a decimal point if needed")
}

struct Columns {
    sku: usize,
    name: usize,
    price: usize,
    currency: Currency,
}

/// Reads the whole list, or returns an error that names the invalid line.
pub fn read(path: &Path) -> Result<Vec<Article>, UnreadableList> {
    articles(File::open(path).map_err(csv::Error::from)?)
}

/// Reads a list from the content of a file.
pub fn articles(content: impl Read) -> Result<Vec<Article>, UnreadableList> {
    let mut list = csv::Reader::from_reader(content);
    let columns = Columns::of(list.headers()?).ok_or(UnreadableList::Columns)?;
    list.records()
        .map(|record| {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            columns.article(&record).map_err(|source| UnreadableList::Line { line, source })
        })
        .collect()
}

impl Columns {
    fn of(names: &StringRecord) -> Option<Self> {
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        let price = names.iter().position(|name| name.starts_with(PRICE))?;
        let code = names.get(price)?.strip_prefix(PRICE)?.to_uppercase();
        let currency = Currency::from_str(&code).ok()?;
        Some(Self { sku: at("sku")?, name: at("name")?, price, currency })
    }

    fn article(&self, record: &StringRecord) -> Result<Article, NotAnArticle> {
        let text = |column: usize| record.get(column).unwrap_or_default();
        let price = written_amount(text(self.price)).ok_or(NotAnArticle::Price)?;
        Ok(Article {
            sku: Sku::parse(text(self.sku))?,
            name: name(text(self.name))?,
            unit_price: Money::new(price, self.currency)?.within_reason()?,
        })
    }
}

/// Normalises a name to the form that the API stores and searches for.
fn name(text: &str) -> Result<String, NotAnArticle> {
    line_of_text(text, NAME_LENGTH_MAX).map_err(|_not_a_line| NotAnArticle::Name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_digits_and_a_point_between_them() {
        for (text, share) in [("60", "60"), ("62.5", "62.5"), ("0", "0")] {
            assert_eq!(percent(text).unwrap().to_string(), share);
        }
        for loose in ["6_0", "+60", "-1", "60%", " 60", "", ".5"] {
            assert!(percent(loose).is_err(), "{loose}");
        }
    }

    fn names(list: &str) -> Result<Vec<String>, UnreadableList> {
        Ok(articles(list.as_bytes())?.into_iter().map(|article| article.name).collect())
    }

    #[test]
    fn a_list_is_read_with_its_columns_in_any_order() {
        let list = "unit_price_jpy,more,name,sku\n100,x,\" a \"\"b\"\" \",BANK CHARGES\n";
        let read = articles(list.as_bytes()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].sku.as_str(), "BANK CHARGES");
        assert_eq!(read[0].name, "a \"b\"");
        assert_eq!(read[0].unit_price.to_string(), "100 JPY");
    }

    #[test]
    fn a_name_is_the_same_in_each_form_of_unicode() {
        for name in ["caf\u{e9}", "cafe\u{301}"] {
            let list = format!("sku,name,unit_price_gbp\nA,{name},1\n");
            assert_eq!(names(&list).unwrap(), ["caf\u{e9}"]);
        }
        // The API counts characters after composing them, so decomposed ones must not count double.
        let most = "\u{e9}".repeat(NAME_LENGTH_MAX);
        let decomposed = "e\u{301}".repeat(NAME_LENGTH_MAX);
        let list = format!("sku,name,unit_price_gbp\nA,{decomposed},1\n");
        assert_eq!(names(&list).unwrap(), [most]);
    }

    #[test]
    fn a_name_that_no_article_can_have_is_refused_with_its_line() {
        let most = "x".repeat(NAME_LENGTH_MAX);
        assert_eq!(names(&format!("sku,name,unit_price_gbp\nA,{most},1\n")).unwrap(), [most]);
        for wrong in ["", " ", "a\u{0}b", "\"a\nb\"", &"x".repeat(201)] {
            let list = format!("sku,name,unit_price_gbp\nA,a,1\nB,{wrong},1\n");
            let refused = names(&list).unwrap_err();
            assert!(
                matches!(refused, UnreadableList::Line { line: 3, source: NotAnArticle::Name }),
                "{wrong:?}: {refused:?}"
            );
        }
    }
}
