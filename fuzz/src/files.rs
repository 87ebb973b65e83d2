//! Files that operators give to the programs.

use std::path::Path;

use domain::CountryCode;
use temporalio_client::WorkflowHistory;
use worker::{catalogue_file, replay};

use crate::retail::RetailOrders;

/// A supplier's list for `ordersaga load-catalogue`. Each article that is taken can be written down
/// and is read as the same, at a price within reason.
pub(crate) fn catalogue(csv: &[u8]) {
    let Ok(articles) = catalogue_file::articles(csv) else { return };
    let Some(currency) = articles.first().map(|article| article.unit_price.currency()) else {
        return;
    };
    let mut list = csv::Writer::from_writer(Vec::new());
    let price = format!("unit_price_{}", currency.code().to_lowercase());
    let mut written = list.write_record(["sku", "name", &price]).is_ok();
    for article in &articles {
        assert!((1..=200).contains(&article.name.chars().count()));
        assert!(article.unit_price.within_reason().is_ok());
        assert_eq!(article.unit_price.currency(), currency);
        let amount = article.unit_price.amount().to_string();
        written &= list.write_record([article.sku.as_str(), &article.name, &amount]).is_ok();
    }
    assert!(written);
    let again = list.into_inner().ok().and_then(|csv| catalogue_file::articles(&*csv).ok());
    assert_eq!(again.map(shown), Some(shown(articles)));
}

fn shown(articles: Vec<activities::catalogue::Article>) -> Vec<(String, String, String)> {
    let shown = |it: activities::catalogue::Article| {
        (it.sku.to_string(), it.name, it.unit_price.to_string())
    };
    articles.into_iter().map(shown).collect()
}

/// A workflow's history for `ordersaga replay`, from either of its two JSONs. What is read is the
/// same history when the SDK has written it.
pub(crate) fn history(json: &[u8]) {
    let Ok(history) = replay::read(json) else { return };
    let written = futures::executor::block_on(WorkflowHistory::from(history.clone()).to_json());
    let again = written.ok().and_then(|written| replay::read(&written).ok());
    assert_eq!(again, Some(history));
}

/// The orders that `make demo ORDERS=` places. Each of those that were asked for is placed, or told
/// why not, and goes to a country that there is.
pub(crate) fn orders(lines: &[u8]) {
    const ASKED: usize = 50;
    let Ok(read) = RetailOrders::of(lines, ASKED, Path::new("orders")) else { return };
    let refused: usize = read.refused.values().sum();
    assert_eq!(read.orders.len().checked_add(refused), Some(ASKED));
    assert!(read.orders.is_sorted_by(|(one, _), (next, _)| one < next));
    assert!(read.orders.iter().all(|(_, order)| CountryCode::parse(order.country).is_ok()));
}
