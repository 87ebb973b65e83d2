//! What is written, of real orders and of awkward ones.

use std::path::Path;

use domain::refund::{Ask, Left};
use domain::{CountryCode, Discount, DiscountKind, PriceList, PricedSku, RateTable, ShippingRate};
use en16931::InvoiceAmount;
use serde::Deserialize;

use super::*;

fn pounds(amount: &str) -> Money {
    testkit::pounds(amount)
}

fn country(code: &str) -> CountryCode {
    CountryCode::parse(code).unwrap()
}

fn seller(from: &str) -> Seller {
    Seller {
        name: "The Shop".to_owned(),
        street: "1 High Street".to_owned(),
        city: "London".to_owned(),
        postal_code: Some("SW1Y 4JH".to_owned()),
        country: country(from),
        vat_id: format!("{from}123456789"),
        bank: None,
    }
}

fn buyer(name: &str, to: &str) -> Buyer {
    Buyer {
        name: name.to_owned(),
        line1: Some("12 St James's Square".to_owned()),
        line2: None,
        city: Some("A Town".to_owned()),
        postal_code: None,
        country: country(to),
    }
}

/// The paper of a document, without the names of articles.
fn paper<'a>(
    kind: DocumentKind,
    document: &'a Document,
    seller: &'a Seller,
    buyer: &'a Buyer,
    names: &'a BTreeMap<Sku, String>,
) -> Paper<'a> {
    let day = NaiveDate::from_ymd_opt(2026, 11, 21).unwrap();
    let (delivered_on, corrects) = match kind {
        DocumentKind::Invoice => (Some(day), None),
        DocumentKind::CreditNote => (None, Some(("INV-000001", day))),
    };
    Paper {
        kind,
        number: "INV-000017",
        issued_on: day,
        order_id: Uuid::from_u128(7),
        seller,
        buyer,
        document,
        names,
        delivered_on,
        corrects,
    }
}

/// Where real orders are sent here, at which rate and fee, one after the other.
const DESTINATIONS: [(&str, &str, &str); 6] = [
    ("GB", "20", "3.95"),
    ("DE", "19", "8.95"),
    ("US", "0", "16.95"),
    ("CH", "8.1", "12.95"),
    ("FI", "25.5", "0.00"),
    ("JE", "5", "5.95"),
];

fn rates() -> RateTable {
    let mut rates = RateTable::default();
    for (code, percent, fee) in DESTINATIONS {
        rates.sell_to(country(code), percent.parse().unwrap());
        let free_from = Some(pounds("250.00"));
        rates.ship_to(country(code), ShippingRate { fee: pounds(fee), free_from });
    }
    rates
}

#[derive(Deserialize)]
struct Article {
    sku: String,
    unit_price_gbp: String,
}

#[derive(Deserialize)]
struct RealOrder {
    lines: Vec<RealLine>,
}

#[derive(Deserialize)]
struct RealLine {
    sku: String,
    quantity: i64,
}

/// The baskets of the sample of real orders, at real prices.
fn real_baskets() -> Vec<Vec<(PricedSku, Quantity)>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/data");
    let mut file = csv::Reader::from_path(data.join("products.csv")).unwrap();
    let articles = file.deserialize().map(|article| {
        let Article { sku, unit_price_gbp } = article.unwrap();
        (sku, pounds(&unit_price_gbp))
    });
    let prices: BTreeMap<String, Money> = articles.collect();
    let sample = std::fs::read_to_string(data.join("orders-sample.jsonl")).unwrap();
    let order = |line: &str| -> RealOrder { serde_json::from_str(line).unwrap() };
    let baskets = sample.lines().map(order).map(|RealOrder { lines }| {
        let line = |RealLine { sku, quantity }: RealLine| {
            let unit_price = *prices.get(&sku)?;
            let sku = Sku::parse(sku).ok()?;
            Some((
                PricedSku { sku, unit_price, unit_cost: unit_price },
                Quantity::new(quantity).ok()?,
            ))
        };
        lines.into_iter().filter_map(line).collect::<Vec<_>>()
    });
    baskets.filter(|basket| !basket.is_empty()).collect()
}

#[test]
fn every_real_order_has_an_invoice_that_comes_to_its_charge() {
    let (rates, names, seller) = (rates(), BTreeMap::new(), seller("GB"));
    let discounts = [
        None,
        Some(Discount(DiscountKind::Percent(Decimal::TEN))),
        Some(Discount(DiscountKind::Amount(pounds("5.00")))),
        Some(Discount(DiscountKind::Percent("33.3".parse().unwrap()))),
    ];
    let baskets = real_baskets();
    assert!(baskets.len() > 800, "{} orders", baskets.len());
    let ways = DESTINATIONS.iter().cycle().zip(discounts.iter().cycle());
    for (number, (basket, ((code, percent, _), discount))) in baskets.iter().zip(ways).enumerate() {
        let PriceList { lines, totals, .. } =
            PriceList::of(basket, *discount, country(code), &rates).unwrap();
        // Among others that the destination has had.
        let had = ["19.5", *percent, "7"].map(|percent| percent.parse::<Decimal>().unwrap());
        let percent = tax_percent_of(&totals, had).unwrap();
        let document = Document::of_order(&lines, &totals, percent).unwrap();
        let buyer = buyer("Ada Lovelace", code);
        let paper = paper(DocumentKind::Invoice, &document, &seller, &buyer, &names);
        let written = write(&paper).unwrap();
        let stated = &written.proof.invoice().totals;
        let charge = InvoiceAmount::from_decimal_exact(totals.total.amount()).unwrap();
        assert_eq!(stated.gross_total, charge, "order {number}");
        // What somebody else reads in it, of some.
        if number.is_multiple_of(40) {
            for xml in [&written.ubl, &written.cii] {
                let read = en16931_formats::read(xml.as_bytes()).unwrap();
                let totals = &read.invoice.totals;
                assert_eq!(totals.gross_total, charge, "order {number}");
                assert_eq!(totals.vat_total, stated.vat_total, "order {number}");
                assert_eq!(read.invoice.lines.len(), lines.len());
                assert_eq!(read.invoice.vat_breakdown, written.proof.invoice().vat_breakdown);
            }
        }
    }
}

#[test]
fn an_invoice_with_a_cent_off_is_refused() {
    let order = testkit::order_of(
        domain::OrderId::of(Uuid::from_u128(7)),
        &[(testkit::priced("85123A", "2.55", 40), Quantity::new(6).unwrap())],
    );
    let document = Document::of_order(&order.lines, &order.totals, 20.into()).unwrap();
    let cent = pounds("0.01");
    let (seller, buyer, names) = (seller("GB"), buyer("Ada Lovelace", "GB"), BTreeMap::new());
    let written = |document: &Document| {
        write(&paper(DocumentKind::Invoice, document, &seller, &buyer, &names))
    };
    assert!(written(&document).is_ok());
    for off in [
        Document { total: document.total.checked_add(cent).unwrap(), ..document.clone() },
        Document { net: document.net.checked_sub(cent).unwrap(), ..document.clone() },
        Document { tax: document.tax.checked_add(cent).unwrap(), ..document.clone() },
        Document { shipping: document.shipping.checked_sub(cent).unwrap(), ..document.clone() },
        Document { discount: cent, ..document.clone() },
    ] {
        let refused = written(&off).err().unwrap().to_string();
        assert!(refused.contains("BR-CO-"), "{refused}");
    }
}

#[test]
fn refunds_are_credited_in_both_syntaxes() {
    let order = testkit::order_of(
        domain::OrderId::of(Uuid::from_u128(7)),
        &[(testkit::priced("85123A", "2.55", 40), Quantity::new(6).unwrap())],
    );
    let left = Left::of(&order.lines, &order.totals, &[]).unwrap();
    let (seller, buyer, names) = (seller("GB"), buyer("Ada Lovelace", "GB"), BTreeMap::new());
    for amount in ["0.01", "0.99", "10.00", "23.10"] {
        let parts = left.parts_of(&Ask::Amount(pounds(amount))).unwrap();
        let document = Document::of_refund(parts, &[], 20.into()).unwrap();
        let paper = paper(DocumentKind::CreditNote, &document, &seller, &buyer, &names);
        let Written { ubl, cii, proof } = write(&paper).unwrap();
        assert_eq!(proof.invoice().totals.gross_total.to_string(), amount);
        assert!(ubl.contains("<CreditNote") && ubl.contains("INV-000001"), "{ubl}");
        assert!(cii.contains("381") && cii.contains("INV-000001"), "{cii}");
    }
}

#[test]
fn what_the_standard_has_no_form_for_is_refused_without_personal_data() {
    let dinars = |amount: &str| Money::new(amount.parse().unwrap(), Currency::KWD).unwrap();
    let (unit_price, none) = (dinars("1.005"), dinars("0"));
    let sku = Sku::parse("85123A").unwrap();
    let quantity = Quantity::new(1).unwrap();
    let lines = [OrderLine { sku, quantity, unit_price, line_total: unit_price }];
    let (subtotal, total) = (unit_price, unit_price);
    let totals = Totals { subtotal, discount: none, shipping: none, tax: none, total };
    let document = Document::of_order(&lines, &totals, Decimal::ZERO).unwrap();
    let (seller, names) = (seller("GB"), BTreeMap::new());
    let ada = buyer("Ada Lovelace", "KW");
    let refused = write(&paper(DocumentKind::Invoice, &document, &seller, &ada, &names));
    let told = refused.err().unwrap().to_string();
    assert_eq!(told, "EN 16931 has amounts of two decimals, and 1.005 KWD is none");

    let nobody = buyer("\u{202e}", "KW");
    let totals = Totals { subtotal: none, total: none, ..totals };
    let free = [OrderLine { unit_price: none, line_total: none, ..lines[0].clone() }];
    let document = Document::of_order(&free, &totals, Decimal::ZERO).unwrap();
    let refused = write(&paper(DocumentKind::Invoice, &document, &seller, &nobody, &names));
    let told = refused.err().unwrap().to_string();
    assert!(told.contains("BR-07 at"), "{told}");
    assert!(!told.contains("James"), "{told}");
}

#[test]
fn what_is_exported_from_the_union_says_why_it_bears_no_tax() {
    let names = BTreeMap::new();
    let document = sample().unwrap();
    for (from, to, code) in
        [("DE", "US", Some("VATEX-EU-G")), ("DE", "FR", None), ("GB", "US", None)]
    {
        let (seller, buyer) = (seller(from), buyer("Ada Lovelace", to));
        let paper = paper(DocumentKind::Invoice, &document, &seller, &buyer, &names);
        let written = write(&paper).unwrap();
        let breakdown = &written.proof.invoice().vat_breakdown[0];
        let said = breakdown.exemption_reason_code.as_ref().map(en16931::invoice::Code::as_str);
        assert_eq!(said, code, "{from} {to}");
        let page = Pages::open(None).unwrap().write(&paper).unwrap();
        assert_eq!(page.contains("Exported from the European Union"), code.is_some());
    }
}

#[test]
fn a_name_that_is_markup_is_shown_and_not_obeyed() {
    let name = r#"<script>alert("1")</script> & Sons ]]>"#;
    let (seller, buyer) = (seller("GB"), buyer(name, "GB"));
    let sku = Sku::parse("SAMPLE").unwrap();
    let names = BTreeMap::from([(sku, "<b>LANTERN</b>".to_owned())]);
    let document = sample().unwrap();
    let paper = paper(DocumentKind::Invoice, &document, &seller, &buyer, &names);
    let page = Pages::open(None).unwrap().write(&paper).unwrap();
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    assert!(page.contains("&lt;script&gt;") && page.contains("&lt;b&gt;LANTERN"), "{page}");
    let Written { ubl, cii, .. } = write(&paper).unwrap();
    for xml in [ubl, cii] {
        let read = en16931_formats::read(xml.as_bytes()).unwrap();
        assert_eq!(read.invoice.buyer.name.as_deref(), Some(name));
    }
}

#[test]
fn a_template_that_names_what_is_not_there_is_refused_with_its_line_and_no_value() {
    let file = std::env::temp_dir().join(format!("ordersaga-invoice-{}.html", Uuid::now_v7()));
    let document = sample().unwrap();
    let (seller, buyer, names) = (seller("GB"), buyer("Ada Lovelace", "GB"), BTreeMap::new());
    let paper = paper(DocumentKind::Invoice, &document, &seller, &buyer, &names);
    let mut told = Vec::new();
    for template in ["{{ buyer.name }}", "{{ number }}\n{{ nmber }}", "{% if %}"] {
        std::fs::write(&file, template).unwrap();
        let written = Pages::open(Some(&file)).and_then(|pages| pages.write(&paper));
        told.push(written.unwrap_or_else(|error| error.to_string()));
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(told[0], "Ada Lovelace");
    assert!(told[1].contains("line 2") && told[2].contains("line 1"), "{told:?}");
    assert!(!told[1].contains("INV-"), "{told:?}");
    assert!(Pages::open(Some(&file)).is_err(), "it is not there any more");
}
