//! Several faults at once: real orders, each with faults drawn from a seed, until everything is
//! repaired and every order has to end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use activities::catalogue::{Stocking, load};
use chrono::{SubsecRound as _, Utc};
use domain::{
    CountryCode, CustomerId, Decision, Destination, Order, OrderId, PriceList, PricedSku, Quantity,
    Sku,
};
use fastrand::Rng;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::cell::{Cancel, Moment, Point, Trouble, Way};
use crate::report;
use crate::run::{self, Manner};
use crate::support::{self, COST_PERCENT, Gate, OrderHandle, Shop, decided, ended};

/// Stock of each article: enough for any draw.
const STOCKING: u32 = 1_000_000;

/// Faults that pass, or end the order, including one that waits for an operator.
const TROUBLES: [Trouble; 13] = [
    Trouble::Fails,
    Trouble::FailsLong,
    Trouble::NeverAnswers,
    Trouble::LosesAnswer,
    Trouble::LosesAnswerLong,
    Trouble::LosesAnswerForEver,
    Trouble::Overlaps,
    Trouble::MakesNoSense,
    Trouble::Breaks,
    Trouble::IsRefused,
    Trouble::Garbles,
    Trouble::IsSlow,
    Trouble::FailsByTurns,
];

/// The plan for one order, drawn from the seed.
struct Fate {
    order: Order,
    troubles: Vec<(Point, Trouble)>,
    cancel: Option<Cancel>,
}

/// Runs this many real orders. Returns whether all of them ended without anything half done.
pub async fn run(shop: &Shop, orders: usize, seed: Option<u64>, manner: Manner) -> bool {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: {orders} real orders, up to three troubles each");
    let mut rng = Rng::with_seed(seed);
    let points = run::points(shop, manner).await;
    let fates: Vec<_> = sample(shop, orders)
        .await
        .into_iter()
        .map(|order| fate(&mut rng, &points, order))
        .collect();
    let complaints: Vec<String> = stream::iter(&fates)
        .map(|fate| through(shop, fate, manner))
        .buffer_unordered(manner.at_once)
        .filter_map(async |complaint| complaint)
        .collect()
        .await;
    for complaint in &complaints {
        println!("FAILED {complaint}");
    }
    let troubles: usize = fates.iter().map(|fate| fate.troubles.len()).sum();
    let cancels = fates.iter().filter(|fate| fate.cancel.is_some()).count();
    println!(
        "{} of {orders} orders came to a clean end, through {troubles} troubles and {cancels} \
         cancels; `--orders {orders} --seed {seed}` has them again",
        orders - complaints.len()
    );
    report::prove(shop).await && complaints.is_empty()
}

fn fate(rng: &mut Rng, points: &BTreeSet<Point>, order: Order) -> Fate {
    let mut troubles = Vec::new();
    for _ in 0..rng.usize(0..=3) {
        let point = rng.choice(points).cloned();
        let trouble = rng.choice(TROUBLES);
        if let (Some(point), Some(trouble)) = (point, trouble)
            && trouble.can_happen_to(&point)
        {
            troubles.push((point, trouble));
        }
    }
    let way = rng.choice([Way::Update, Way::Signal, Way::Temporal]);
    let moment = Moment::Event(rng.usize(1..12));
    let cancel = way.filter(|_| rng.u8(0..4) == 0).map(|way| Cancel { moment, way });
    Fate { order, troubles, cancel }
}

async fn through(shop: &Shop, fate: &Fate, manner: Manner) -> Option<String> {
    let Fate { order, troubles, cancel } = fate;
    let gate = Gate::default();
    for (point, trouble) in troubles {
        for fault in trouble.faults(None, &gate) {
            shop.faults.plan_at(order.order_id, &point.activity, point.site, fault);
        }
    }
    let handle = shop.place(order).await;
    let status = timeout(manner.give_up_after, async {
        let end = ended(&handle);
        let cancel = run::call_off(&handle, *cancel, &gate);
        let operator = heal_when_asked(shop, &handle, order.order_id);
        tokio::pin!(end, operator);
        let (status, _accepted) = tokio::join!(
            async {
                tokio::select! {
                    status = &mut end => status,
                    status = &mut operator => status,
                }
            },
            cancel,
        );
        status
    });
    let Ok(status) = status.await else {
        return Some(format!("order {} has not ended", order.order_id));
    };
    for (point, _) in troubles {
        shop.faults.drain(order.order_id, &point.activity).await;
    }
    let complaint = run::on_record(shop, order, &status).await?;
    Some(format!("order {}: {complaint}", order.order_id))
}

/// When an operator is asked, repairs everything and retries.
async fn heal_when_asked(shop: &Shop, handle: &OrderHandle, order: OrderId) -> domain::OrderStatus {
    let mut looks = interval(Duration::from_secs(1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(waiting) = run::waits(handle).await {
            shop.faults.heal_order(order);
            // The order may have continued since it was checked.
            let _refused = shop.decide(handle, &decided(&waiting, Decision::Retry)).await.is_err();
        }
    }
}

#[derive(Deserialize)]
struct Written {
    invoice: String,
    customer: Option<String>,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
}

/// Real orders at real prices, all sent to one country.
async fn sample(shop: &Shop, count: usize) -> Vec<Order> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/data");
    let articles = worker::catalogue_file::read(&data.join("products.csv")).unwrap();
    let stocking = Stocking { pieces: STOCKING, cost_percent: COST_PERCENT.into() };
    load(&shop.db, &articles, stocking).await.unwrap();
    let country = CountryCode::parse("GB").unwrap();
    let rates = testkit::british_rates();
    let price_of = |sku: &Sku| {
        articles.iter().find(|article| article.sku == *sku).map(|article| article.unit_price)
    };
    let text = std::fs::read_to_string(data.join("orders-sample.jsonl")).unwrap();
    let written = text.lines().map(|line| serde_json::from_str::<Written>(line).unwrap());
    written
        .filter_map(|Written { invoice, customer, lines }| {
            let mut basket: Vec<(PricedSku, Quantity)> = Vec::new();
            for Line { sku, quantity } in lines {
                let sku = Sku::parse(sku).ok()?;
                if basket.iter().any(|(article, _)| article.sku == sku) {
                    continue;
                }
                let unit_price = price_of(&sku)?;
                let unit_cost = unit_price.percent(COST_PERCENT.into()).ok()?;
                basket.push((
                    PricedSku { sku, unit_price, unit_cost },
                    Quantity::new(quantity.into()).ok()?,
                ));
            }
            let PriceList { lines, totals, cost_of_goods } =
                PriceList::of(&basket, None, country, &rates).ok()?;
            Some(Order {
                order_id: OrderId::of(Uuid::now_v7()),
                customer_id: CustomerId::parse(customer.unwrap_or(invoice)).ok()?,
                placed_at: Utc::now().trunc_subsecs(6),
                lines,
                totals,
                cost_of_goods: cost_of_goods?,
                ship_to: Destination { country, address_id: None },
                ..support::screened()
            })
        })
        .take(count)
        .collect()
}
