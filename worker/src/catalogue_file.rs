//! Reads a supplier's list: a CSV file with the columns `sku`, `name` and `unit_price_gbp`, the
//! last one naming the currency that all its prices are in.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr as _;

use activities::catalogue::Article;
use csv::StringRecord;
use domain::{Currency, IdError, Money, MoneyError, Sku, written_amount};

/// What a price column is called, before its currency.
const PRICE: &str = "unit_price_";

/// Why a list cannot be read. Nothing of it is taken in.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableList {
    /// No file, or no CSV.
    #[error("the list cannot be read")]
    Csv(#[from] csv::Error),
    /// The first line does not name the three columns.
    #[error("the list's first line must name `sku`, `name` and `unit_price_` with a currency")]
    Columns,
    /// A line that is no article.
    #[error("line {line} of the list is no article")]
    Line {
        /// Counted from 1, the names of the columns included.
        line: u64,
        /// What is wrong with it.
        source: NotAnArticle,
    },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum NotAnArticle {
    /// Its number.
    #[error(transparent)]
    Sku(#[from] IdError),
    /// Its price, which is no number.
    #[error("the price is no decimal number")]
    Price,
    /// Its price, which is no amount of money.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

struct Columns {
    sku: usize,
    name: usize,
    price: usize,
    currency: Currency,
}

/// Reads the whole list, or says which line is wrong.
pub fn read(path: &Path) -> Result<Vec<Article>, UnreadableList> {
    articles(File::open(path).map_err(csv::Error::from)?)
}

/// The same, from the file's content.
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
            name: text(self.name).to_owned(),
            unit_price: Money::new(price, self.currency)?.within_reason()?,
        })
    }
}
