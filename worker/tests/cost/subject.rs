//! The orders that are counted: real ones of the shop's data.

use std::collections::BTreeMap;

use activities::catalogue::{Article, Stocking, load};
use chrono::{DateTime, SubsecRound as _, Utc};
use domain::{Order, OrderId, PricedSku, Quantity, Sku, Terms};
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{COST_PERCENT, ON_HAND};

const ORDERS: &str = include_str!("../../../shop/data/orders-sample.jsonl");
const PRODUCTS: &[u8] = include_bytes!("../../../shop/data/products.csv");

/// An invoice of the data for each size.
const INVOICES: [(usize, &str); 3] = [(1, "537249"), (22, "536841"), (541, "576339")];

/// An invoice, with its articles' prices.
#[derive(Deserialize)]
pub struct Invoice {
    #[serde(rename = "invoice")]
    number: String,
    lines: Vec<Line>,
    #[serde(skip)]
    articles: BTreeMap<String, Product>,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Clone, Deserialize)]
struct Product {
    sku: String,
    name: String,
    unit_price_gbp: String,
}

impl Invoice {
    /// The invoice with this many lines.
    pub fn of(lines: usize) -> Self {
        let (_, number) = INVOICES.into_iter().find(|(size, _)| *size == lines).unwrap();
        let mut invoices = ORDERS.lines().map(|line| serde_json::from_str::<Self>(line).unwrap());
        let mut invoice = invoices.find(|invoice| invoice.number == number).unwrap();
        assert_eq!(invoice.lines.len(), lines, "invoice {number} is another one by now");
        let products = csv::Reader::from_reader(PRODUCTS).into_deserialize::<Product>();
        let products = products.map(|product| product.unwrap());
        let products = products.map(|product| (product.sku.clone(), product));
        let products = products.collect::<BTreeMap<_, _>>();
        let bought = invoice.lines.iter().map(|line| line.sku.clone());
        invoice.articles = bought.map(|sku| (sku.clone(), products[&sku].clone())).collect();
        invoice
    }

    /// Receives its articles into stock.
    pub async fn stock_up(&self, db: &PgPool) {
        let articles = self.articles.values().map(|product| Article {
            sku: Sku::parse(product.sku.as_str()).unwrap(),
            name: product.name.clone(),
            unit_price: testkit::pounds(&product.unit_price_gbp),
        });
        let stocking = Stocking { pieces: ON_HAND, cost_percent: COST_PERCENT.into() };
        load(db, &articles.collect::<Vec<_>>(), stocking).await.unwrap();
    }

    /// Another order for the same articles.
    pub fn order(&self) -> Order {
        let bought = |line: &Line| -> (PricedSku, Quantity) {
            let price = &self.articles[&line.sku].unit_price_gbp;
            let article = testkit::priced(&line.sku, price, COST_PERCENT);
            (article, Quantity::new(line.quantity.into()).unwrap())
        };
        let basket = self.lines.iter().map(bought).collect::<Vec<_>>();
        Order {
            // A timestamp with the same number of digits each time.
            placed_at: DateTime::<Utc>::from(std::time::SystemTime::now()).trunc_subsecs(0),
            terms: Terms::default(),
            ..testkit::order_of(OrderId::of(Uuid::now_v7()), &basket)
        }
    }
}
