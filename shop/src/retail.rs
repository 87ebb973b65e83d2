//! Real orders: a year of sales of a wholesale shop (`data/README.md`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

/// The sample, embedded so that the program runs from any folder.
const SAMPLE: &[u8] = include_bytes!("../data/orders-sample.jsonl");

/// An order of the data, with its country as an ISO 3166 code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetailOrder {
    /// The invoice's number, unique in the data.
    pub(crate) invoice: String,
    /// The customer's number.
    pub(crate) customer: String,
    /// ISO 3166-1 alpha-2.
    pub(crate) country: &'static str,
    /// What was bought.
    pub(crate) lines: Vec<RetailLine>,
}

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetailLine {
    /// The article.
    pub(crate) sku: String,
    /// Pieces.
    pub(crate) quantity: u32,
}

/// The orders that can be placed, and the reasons why others cannot.
#[derive(Debug, Default)]
pub(crate) struct RetailOrders {
    /// Each with its position among all orders read.
    pub(crate) orders: Vec<(usize, RetailOrder)>,
    /// How often each reason prevents an order from being placed.
    pub(crate) refused: BTreeMap<String, usize>,
}

/// Why orders cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetailError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not an order.
    #[error("line {line} is not an order")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// The file has no orders.
    #[error("there are no orders in it")]
    Empty,
}

/// An order in the file's format.
#[derive(Deserialize)]
struct Written {
    invoice: String,
    #[serde(default)]
    customer: Option<String>,
    country: String,
    lines: Vec<RetailLine>,
}

impl RetailOrders {
    /// Reads `count` orders: from a file of JSON lines, plain or gzipped, or from the sample.
    ///
    /// **Repeats.** With fewer than `count`, they are repeated with another invoice number, so that
    /// each is a distinct order.
    pub(crate) fn read(file: Option<&Path>, count: usize) -> Result<Self, RetailError> {
        match file {
            Some(path) => Self::of(open(path)?, count, path),
            None => Self::of(SAMPLE, count, Path::new("the sample")),
        }
    }

    /// Reads the uncompressed content of a file.
    pub(crate) fn of(
        content: impl BufRead,
        count: usize,
        path: &Path,
    ) -> Result<Self, RetailError> {
        let written = written(content, count, path)?;
        if written.is_empty() {
            return Err(RetailError::Empty);
        }
        let mut read = Self::default();
        for (position, order) in written.iter().cycle().take(count).enumerate() {
            let round = position.checked_div(written.len()).unwrap_or_default();
            match usable(order, round) {
                Ok(order) => read.orders.push((position, order)),
                Err(why) => {
                    let times = read.refused.entry(why).or_default();
                    *times = times.saturating_add(1);
                }
            }
        }
        Ok(read)
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, RetailError> {
    let file =
        File::open(path).map_err(|source| RetailError::File { path: path.to_owned(), source })?;
    Ok(unzipped(file, path))
}

fn unzipped(file: impl Read + 'static, path: &Path) -> Box<dyn BufRead> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    }
}

fn written(from: impl BufRead, count: usize, path: &Path) -> Result<Vec<Written>, RetailError> {
    let order = |(number, line): (usize, io::Result<String>)| {
        let line = line.map_err(|source| RetailError::File { path: path.to_owned(), source })?;
        serde_json::from_str(&line)
            .map_err(|source| RetailError::Line { line: number.saturating_add(1), source })
    };
    from.lines().enumerate().take(count).map(order).collect()
}

fn usable(order: &Written, round: usize) -> Result<RetailOrder, String> {
    let country = iso_country(&order.country).ok_or_else(|| {
        format!("country “{}” is not a country that a parcel can be sent to", order.country)
    })?;
    let customer = order.customer.clone().ok_or_else(|| "no customer".to_owned())?;
    let invoice = match round {
        0 => order.invoice.clone(),
        again => format!("{}.{again}", order.invoice),
    };
    Ok(RetailOrder { invoice, customer, country, lines: order.lines.clone() })
}

/// The ISO 3166-1 alpha-2 code of a country's name in the data. `None` for a name that is not a
/// country: `Unspecified` and `European Community`.
fn iso_country(name: &str) -> Option<&'static str> {
    COUNTRIES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

const COUNTRIES: [(&str, &str); 35] = [
    ("Australia", "AU"),
    ("Austria", "AT"),
    ("Bahrain", "BH"),
    ("Belgium", "BE"),
    ("Brazil", "BR"),
    ("Canada", "CA"),
    // Jersey and Guernsey have codes of their own and the data does not say which is meant. Jersey
    // has more people, and the shop's shipping fee is for Jersey.
    ("Channel Islands", "JE"),
    ("Cyprus", "CY"),
    // Since 2016 also called Czechia; the code has stayed.
    ("Czech Republic", "CZ"),
    ("Denmark", "DK"),
    // Ireland by its Irish name.
    ("EIRE", "IE"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Iceland", "IS"),
    ("Israel", "IL"),
    ("Italy", "IT"),
    ("Japan", "JP"),
    ("Lebanon", "LB"),
    ("Lithuania", "LT"),
    ("Malta", "MT"),
    ("Netherlands", "NL"),
    ("Norway", "NO"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    // The Republic of South Africa; ISO's SA is Saudi Arabia.
    ("RSA", "ZA"),
    ("Saudi Arabia", "SA"),
    ("Singapore", "SG"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("USA", "US"),
    ("United Arab Emirates", "AE"),
    // ISO's code is not UK.
    ("United Kingdom", "GB"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn sample() -> Vec<Written> {
        written(SAMPLE, usize::MAX, Path::new("sample")).unwrap()
    }

    #[test]
    fn every_country_of_the_table_is_one_that_iso_knows() {
        for (name, code) in COUNTRIES {
            assert!(domain::CountryCode::parse(code).is_ok(), "{name} is not {code}");
        }
        let names = COUNTRIES.map(|(name, _)| name);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn every_country_of_the_table_is_in_the_sample() {
        let orders = sample();
        let names = orders.iter().map(|order| order.country.as_str()).collect::<BTreeSet<_>>();
        let unnamed = COUNTRIES.iter().filter(|(name, _)| !names.contains(name));
        assert_eq!(unnamed.count(), 0);
    }

    #[test]
    fn what_is_no_country_is_refused_by_name_and_counted() {
        let read = RetailOrders::read(None, 200).unwrap();
        assert_eq!(read.orders.len(), 198);
        let refused = read.refused.into_iter().collect::<Vec<_>>();
        assert_eq!(
            refused,
            [
                (
                    "country “European Community” is not a country that a parcel can be sent to"
                        .to_owned(),
                    1
                ),
                (
                    "country “Unspecified” is not a country that a parcel can be sent to"
                        .to_owned(),
                    1
                ),
            ]
        );
    }

    #[test]
    fn the_sample_holds_the_invoice_with_541_lines() {
        let longest = sample().into_iter().find(|order| order.invoice == "576339").unwrap();
        assert_eq!(longest.lines.len(), 541);
    }

    #[test]
    fn an_order_without_a_customer_is_refused() {
        let line = r#"{"invoice":"1","country":"Japan","lines":[{"sku":"22423","quantity":2}]}"#;
        let order = serde_json::from_str::<Written>(line).unwrap();
        assert_eq!(usable(&order, 0), Err("no customer".to_owned()));
    }

    #[test]
    fn more_orders_than_there_are_come_round_under_other_invoices() {
        let all = sample().len();
        let read = RetailOrders::read(None, all * 2).unwrap();
        let invoices = read.orders.iter().map(|(_, order)| &order.invoice);
        assert_eq!(invoices.collect::<BTreeSet<_>>().len(), read.orders.len());
        assert_eq!(read.orders.len() + read.refused.values().sum::<usize>(), all * 2);
    }

    #[test]
    fn a_gzipped_file_reads_like_a_plain_one() {
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        zipped.write_all(SAMPLE).unwrap();
        let zipped = Cursor::new(zipped.finish().unwrap());
        let path = Path::new("orders.jsonl.gz");
        let orders = written(unzipped(zipped, path), usize::MAX, path).unwrap();
        assert_eq!(orders.len(), sample().len());
    }
}
