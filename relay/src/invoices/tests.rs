//! Tests of the documents, with real orders and with edge cases.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use domain::refund::{Ask, Left, Parts, RefundLine};
use domain::{CountryCode, Discount, DiscountKind, PriceList, PricedSku, RateTable, ShippingRate};
use en16931::InvoiceAmount;
use flate2::read::GzDecoder;

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

/// A document without names of articles.
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

/// Destinations for the real orders, each with its rate and fee, used in turn.
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

/// The baskets of all real orders, in the order of their invoices (`shop/data/README.md`).
fn real_baskets() -> Vec<Vec<(PricedSku, Quantity)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop/data/baskets.txt.gz");
    let mut baskets = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut baskets).unwrap();
    let line = |(position, line): (usize, &str)| {
        let (quantity, unit_price) = line.split_once('x').unwrap();
        let unit_price = pounds(unit_price);
        // The article's identity does not matter here.
        let sku = Sku::parse(position.to_string()).unwrap();
        let quantity = Quantity::new(quantity.parse().unwrap()).unwrap();
        (PricedSku { sku, unit_price, unit_cost: unit_price }, quantity)
    };
    baskets.lines().map(|basket| basket.split(' ').enumerate().map(line).collect()).collect()
}

/// How many of the real orders there are.
const REAL_ORDERS: usize = 17_754;

/// One in this many orders is rendered, and so is each order with more lines than any before.
const ONE_WRITTEN_OF: usize = 20;
const MANY_LINES: usize = 300;

/// One in this many orders is also read back by another parser.
const ONE_READ_OF: usize = 400;

#[test]
fn every_real_order_has_an_invoice_that_comes_to_its_charge() {
    let rates = rates();
    let discounts = [
        None,
        Some(Discount(DiscountKind::Percent(Decimal::TEN))),
        Some(Discount(DiscountKind::Amount(pounds("5.00")))),
        Some(Discount(DiscountKind::Percent("33.3".parse().unwrap()))),
    ];
    let baskets = real_baskets();
    assert_eq!(baskets.len(), REAL_ORDERS);
    let ways = DESTINATIONS.iter().cycle().zip(discounts.iter().cycle());
    for (number, (basket, ((code, percent, _), discount))) in baskets.iter().zip(ways).enumerate() {
        let PriceList { lines, totals, .. } =
            PriceList::of(basket, *discount, country(code), &rates).unwrap();
        // Among other rates that the destination has had.
        let had = ["19.5", *percent, "7"].map(|percent| percent.parse::<Decimal>().unwrap());
        let percent = tax_percent_of(&totals, had).unwrap();
        let document = Document::of_order(&lines, &totals, percent).unwrap();
        let added = document.lines.iter().map(|line| line.net);
        let added = added.chain([document.shipping, document.tax]);
        let asked = [totals.total, document.discount];
        assert_eq!(sum(added), sum(asked), "order {number}");
        assert_eq!(document.total, totals.total, "order {number}");
        if number.is_multiple_of(ONE_WRITTEN_OF) || lines.len() > MANY_LINES {
            is_written_as_charged(number, code, &document, totals.total);
        }
    }
}

fn sum(amounts: impl IntoIterator<Item = Money>) -> Decimal {
    amounts.into_iter().map(Money::amount).sum()
}

/// Renders a real order's invoice, and verifies some with an independent parser.
fn is_written_as_charged(number: usize, to: &str, document: &Document, charge: Money) {
    let (seller, buyer, names) = (seller("GB"), buyer("Ada Lovelace", to), BTreeMap::new());
    let written = write(&paper(DocumentKind::Invoice, document, &seller, &buyer, &names)).unwrap();
    let stated = &written.proof.invoice().totals;
    let charge = InvoiceAmount::from_decimal_exact(charge.amount()).unwrap();
    assert_eq!(stated.gross_total, charge, "order {number}");
    if number.is_multiple_of(ONE_READ_OF) {
        for xml in [&written.ubl, &written.cii] {
            let read = en16931_formats::read(xml.as_bytes()).unwrap();
            let totals = &read.invoice.totals;
            assert_eq!(totals.gross_total, charge, "order {number}");
            assert_eq!(totals.vat_total, stated.vat_total, "order {number}");
            assert_eq!(read.invoice.lines.len(), document.lines.len());
            assert_eq!(read.invoice.vat_breakdown, written.proof.invoice().vat_breakdown);
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
    assert_eq!(told, "EN 16931 allows two decimals, and 1.005 KWD has more");

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

/// The embedded `factur-x.xml` of a PDF, and its metadata.
fn embedded(pdf: &[u8]) -> (Vec<u8>, String) {
    let file = lopdf::Document::load_mem(pdf).unwrap();
    let followed = |object| file.dereference(object).unwrap().1;
    let catalog = file.catalog().unwrap();
    let files = followed(catalog.get(b"AF").unwrap()).as_array().unwrap();
    let [described] = &files[..] else { unreachable!("{files:?}") };
    let described = followed(described).as_dict().unwrap();
    assert_eq!(described.get(b"UF").unwrap().as_str().unwrap(), b"factur-x.xml");
    let streams = followed(described.get(b"EF").unwrap()).as_dict().unwrap();
    let text = |object| followed(object).as_stream().unwrap().get_plain_content().unwrap();
    let metadata = text(catalog.get(b"Metadata").unwrap());
    (text(streams.get(b"F").unwrap()), String::from_utf8(metadata).unwrap())
}

/// The text of each of a PDF's pages.
fn pages(pdf: &[u8]) -> Vec<String> {
    let file = lopdf::Document::load_mem(pdf).unwrap();
    let numbers: Vec<_> = file.get_pages().into_keys().collect();
    numbers.iter().map(|number| file.extract_text(&[*number]).unwrap()).collect()
}

/// A document with a line of one pound for each of these article names.
fn of_articles(called: &[String]) -> (Document, BTreeMap<Sku, String>) {
    let quantity = Quantity::new(1).unwrap();
    let price = pounds("1.00");
    let sku = |number: usize| Sku::parse(format!("SKU-{number:04}")).unwrap();
    let names: BTreeMap<_, _> =
        (0..).zip(called).map(|(number, name)| (sku(number), name.clone())).collect();
    let line =
        |sku: &Sku| OrderLine { sku: sku.clone(), quantity, unit_price: price, line_total: price };
    let lines: Vec<_> = names.keys().map(line).collect();
    let (none, subtotal) = (pounds("0.00"), pounds(&format!("{}.00", lines.len())));
    let totals = Totals { subtotal, discount: none, shipping: none, tax: none, total: subtotal };
    (Document::of_order(&lines, &totals, Decimal::ZERO).unwrap(), names)
}

#[test]
fn a_pdf_has_the_cii_in_it_to_the_byte_and_says_so_the_same_way_each_time() {
    let (seller, buyer, names) = (seller("GB"), buyer("Ada Lovelace", "GB"), BTreeMap::new());
    let document = sample().unwrap();
    for kind in [DocumentKind::Invoice, DocumentKind::CreditNote] {
        let paper = paper(kind, &document, &seller, &buyer, &names);
        let Written { cii, .. } = write(&paper).unwrap();
        assert!(cii.contains("<ram:ID>urn:cen.eu:en16931:2017</ram:ID>"), "{cii}");
        let pdf = pdf::write(&paper, &cii).unwrap();
        assert_eq!(pdf::write(&paper, &cii).unwrap(), pdf);
        let (embedded, metadata) = embedded(&pdf);
        assert_eq!(String::from_utf8(embedded).unwrap(), cii);
        for told in [
            "<pdfaid:part>3</pdfaid:part>",
            "<pdfaid:conformance>B</pdfaid:conformance>",
            "<fx:DocumentType>INVOICE</fx:DocumentType>",
            "<fx:DocumentFileName>factur-x.xml</fx:DocumentFileName>",
            "<fx:ConformanceLevel>EN 16931</fx:ConformanceLevel>",
            "2026-11-21",
        ] {
            assert!(metadata.contains(told), "{told}: {metadata}");
        }
    }
}

#[test]
fn a_pdf_shows_what_the_page_shows() {
    let names = BTreeMap::from([(Sku::parse("SAMPLE").unwrap(), "LANTERN".to_owned())]);
    let iban = "GB82WEST12345698765432".parse().unwrap();
    let bank = Some(Bank { iban, bic: Some("WESTGB2L".to_owned()) });
    let (seller, buyer) = (Seller { bank, ..seller("DE") }, buyer("Ada Lovelace", "US"));
    let document = sample().unwrap();
    for (kind, more) in [
        (DocumentKind::Invoice, ["Invoice INV-000017", "Delivery"]),
        (DocumentKind::CreditNote, ["Credit note INV-000017", "INV-000001 of 2026-11-21"]),
    ] {
        let paper = paper(kind, &document, &seller, &buyer, &names);
        let Written { cii, .. } = write(&paper).unwrap();
        let written = pages(&pdf::write(&paper, &cii).unwrap()).concat();
        let shown = [
            "Ada Lovelace",
            "12 St James's Square",
            "The Shop",
            "VAT DE123456789",
            "2026-11-21",
            "00000000-0000-0000-0000-000000000007",
            "SAMPLE",
            "LANTERN",
            "10.00",
            "20.00",
            "−2.00",
            "5.00",
            "23.00",
            "VAT 0 %",
            "Total in EUR",
            "Exported from the European Union",
            "Nothing is left to be paid.",
            "The Shop, IBAN GB82",
            "BIC WESTGB2L",
            "Page 1 of 1",
        ];
        for text in shown.iter().chain(&more) {
            assert!(written.contains(text), "{text}: {written}");
        }
    }
}

#[test]
fn many_lines_go_over_many_pages_and_none_is_lost() {
    let long = "A name of two hundred letters, and so of several lines: ".repeat(4);
    let name = |number: usize| if number.is_multiple_of(9) { &long } else { "LANTERN" };
    let called: Vec<_> = (0..500).map(|number| format!("{} no. {number}.", name(number))).collect();
    let (document, names) = of_articles(&called);
    let (seller, buyer) = (seller("GB"), buyer("Ada Lovelace", "GB"));
    let paper = paper(DocumentKind::Invoice, &document, &seller, &buyer, &names);
    let written = pages(&pdf::write(&paper, "").unwrap());
    assert!(written.len() > 10, "{} pages", written.len());
    for (number, page) in (1..).zip(&written) {
        assert!(page.contains(&format!("Page {number} of {}", written.len())), "{page}");
        assert!(page.contains("Invoice INV-000017"), "{page}");
        assert_eq!(page.contains("Pieces"), page.contains("SKU-"), "{page}");
    }
    let all = written.concat();
    let mut last = 0;
    for number in 0..500 {
        let found = all.find(&format!("SKU-{number:04}")).unwrap();
        assert!(found >= last, "line {number} is before the one above it");
        last = found;
    }
    assert_eq!(all.matches("LANTERN no. ").count(), 444);
    assert!(all.contains("500.00"), "{all}");
}

#[test]
fn a_description_that_is_longer_than_a_page_is_whole() {
    let quantity = Quantity::new(1).unwrap();
    let line =
        |number| RefundLine { sku: Sku::parse(format!("SKU-{number:04}")).unwrap(), quantity };
    let goods: Vec<_> = (0..900).map(line).collect();
    let none = pounds("0.00");
    let parts =
        Parts { goods: pounds("9.00"), goods_tax: none, shipping: none, shipping_tax: none };
    let document = Document::of_refund(parts, &goods, Decimal::ZERO).unwrap();
    let (seller, buyer, names) = (seller("GB"), buyer("Ada Lovelace", "GB"), BTreeMap::new());
    let paper = paper(DocumentKind::CreditNote, &document, &seller, &buyer, &names);
    let written = pages(&pdf::write(&paper, "").unwrap());
    assert!(written.len() > 2, "{} pages", written.len());
    let all = written.concat();
    for RefundLine { sku, .. } in goods {
        assert!(all.contains(sku.as_str()), "{sku}");
    }
}

#[test]
fn a_letter_that_the_fonts_do_not_have_is_replaced_and_refuses_nothing() {
    let (seller, names) = (seller("GB"), BTreeMap::new());
    let document = sample().unwrap();
    let known = "Zażółć gęślą Žluťoučký Ελλάδα Київ ß € £";
    let name = format!("{known} \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f680} \u{6f22}");
    let buyer = buyer(&name, "GB");
    let paper_of = |document, names| paper(DocumentKind::Invoice, document, &seller, &buyer, names);
    let written = pages(&pdf::write(&paper_of(&document, &names), "").unwrap()).concat();
    let replaced = "\u{fffd}\u{fffd}\u{fffd}\u{fffd}";
    for word in known.split(' ').chain([replaced]) {
        assert!(written.contains(word), "{word}: {written}");
    }
    // One of each character.
    let letters: Vec<char> = ('\u{20}'..'\u{20000}').collect();
    let called: Vec<String> = letters.chunks(150).map(|some| some.iter().collect()).collect();
    let (document, names) = of_articles(&called);
    assert!(pdf::write(&paper_of(&document, &names), "").is_ok());
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
