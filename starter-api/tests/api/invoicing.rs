//! Invoices and credit notes: who may read them, in which formats, byte for byte as issued.

use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::refunding::{completed_order, pounds};
use crate::shop::{Answer, Shop, nowhere, send};

/// Ada's order, with its invoice and the credit note of a refund.
async fn invoiced_order(database: &PgPool) -> Uuid {
    let id = completed_order(database).await;
    sqlx::raw_sql(
        "insert into invoices.series (seller, kind, prefix, next_number)
         values ('GB123456789', 'invoice', 'INV-', 2), ('GB123456789', 'credit-note', 'CN/', 2);
         insert into invoices.invoices (series_id, serial, number, seller, kind, order_id, currency,
             tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf)
         select series_id, 1, 'INV-000001', seller, kind, order_id, 'GBP', 20, 19.25, 3.85, 23.10,
             '2026-01-03T04:05:06Z', 'invoice as ubl', 'invoice as cii', 'invoice as html',
             'invoice as pdf'
         from invoices.series, orders.orders where kind = 'invoice';
         insert into invoices.invoices (series_id, serial, number, seller, kind, order_id, refund,
             corrects, currency, tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf)
         select series.series_id, 1, 'CN/000001', series.seller, series.kind, order_id, 1,
             invoice_id, 'GBP', 20, 5.10, 1.02, 6.12,
             '2026-01-04T04:05:06Z', 'note as ubl', 'note as cii', 'note as html', 'note as pdf'
         from invoices.series, invoices.invoices where series.kind = 'credit-note'",
    )
    .execute(database)
    .await
    .unwrap();
    id
}

/// A shop without Temporal.
async fn shop(database: &PgPool) -> Shop {
    Shop::with(database.clone(), nowhere(), Limits::default()).await
}

async fn accepting(shop: &Shop, path: &str, accept: &str) -> Answer {
    send(shop.request("GET", path).header("accept", accept)).await
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_document_is_shown_in_the_form_that_is_asked_for(database: PgPool) {
    let shop = shop(&database).await;
    let path = format!("/v1/orders/{}/invoice", invoiced_order(&database).await);
    let (xml, html) = ("application/xml; charset=utf-8", "text/html; charset=utf-8");
    let pdf = "application/pdf";
    let viewer = "application/pdf, text/html;q=0.9, */*;q=0.8";
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (query, accept, body, media_type, file) in [
        ("", "*/*", "invoice as ubl", xml, "INV-000001.xml"),
        ("", "application/xml", "invoice as ubl", xml, "INV-000001.xml"),
        ("", browser, "invoice as html", html, "INV-000001.html"),
        ("?format=ubl", browser, "invoice as ubl", xml, "INV-000001.xml"),
        ("?format=cii", browser, "invoice as cii", xml, "INV-000001.xml"),
        ("?format=html", "*/*", "invoice as html", html, "INV-000001.html"),
        ("", "application/pdf", "invoice as pdf", pdf, "INV-000001.pdf"),
        ("", viewer, "invoice as pdf", pdf, "INV-000001.pdf"),
        ("", "application/*", "invoice as ubl", xml, "INV-000001.xml"),
        ("", "application/pdf;q=0.5, text/html", "invoice as html", html, "INV-000001.html"),
        ("?format=pdf", browser, "invoice as pdf", pdf, "INV-000001.pdf"),
        ("?format=cii", viewer, "invoice as cii", xml, "INV-000001.xml"),
        ("?number=CN/000001", "*/*", "note as ubl", xml, "CN-000001.xml"),
        ("?number=CN%2F000001&format=html", "*/*", "note as html", html, "CN-000001.html"),
        ("?number=CN/000001&format=pdf", "*/*", "note as pdf", pdf, "CN-000001.pdf"),
    ] {
        let shown = accepting(&shop, &format!("{path}{query}"), accept).await;
        assert_eq!((shown.status.as_u16(), shown.text.as_str()), (200, body), "{query} {accept}");
        assert_eq!(shown.header("content-type"), Some(media_type), "{query} {accept}");
        let disposition = format!("inline; filename=\"{file}\"");
        assert_eq!(shown.header("content-disposition"), Some(disposition.as_str()));
        assert_eq!(shown.header("cache-control"), Some("private, no-store"));
        assert_eq!(shown.header("x-content-type-options"), Some("nosniff"));
        // Chrome's PDF viewer shows nothing under a policy that forbids everything.
        let policy =
            if media_type == pdf { "frame-ancestors 'none'" } else { "default-src 'none'" };
        assert!(shown.header("content-security-policy").unwrap().contains(policy), "{query}");
        assert_eq!(shown.header("vary").map(|vary| vary.contains("Accept")), Some(true));
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_was_issued_is_listed_with_what_it_corrects(database: PgPool) {
    let shop = shop(&database).await;
    let id = invoiced_order(&database).await;
    let listed = shop.get(&format!("/v1/orders/{id}/invoices")).await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    let listed = listed.json();
    let [invoice, note] = &listed.as_array().unwrap()[..] else { unreachable!("{listed}") };
    assert_eq!((&invoice["number"], &invoice["kind"]), (&json!("INV-000001"), &json!("invoice")));
    assert_eq!(invoice["issued_at"], json!("2026-01-03T04:05:06Z"));
    assert_eq!((invoice.get("refund"), invoice.get("corrects")), (None, None));
    assert_eq!(
        (&invoice["net"], &invoice["tax"], &invoice["total"]),
        (&pounds("19.25"), &pounds("3.85"), &pounds("23.10"))
    );
    // sha256sum of `invoice as ubl`.
    assert_eq!(
        invoice["sha256"]["ubl"],
        json!("57fbd91f1d0d84e920eabaf5e57156998659dd5b5cffc892edd53e37f74af96b")
    );
    // sha256sum of `invoice as pdf`.
    assert_eq!(
        invoice["sha256"]["pdf"],
        json!("43e46860752e0869a92fe836a567c0278f0d812b917aebee490ea6ebd6322ed1")
    );
    assert_eq!((&note["number"], &note["kind"]), (&json!("CN/000001"), &json!("credit-note")));
    assert_eq!((&note["refund"], &note["corrects"]), (&json!(1), &json!("INV-000001")));
    assert_eq!(note["total"], pounds("6.12"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_has_their_own_invoices_and_nobody_elses(database: PgPool) {
    let shop = shop(&database).await;
    let id = invoiced_order(&database).await;
    let (ada, eve) = (shop.asked_by_customer("ada"), shop.asked_by_customer("eve"));
    for what in ["invoice", "invoice?format=pdf", "invoice?number=CN/000001", "invoices"] {
        let path = format!("/v1/orders/{id}/{what}");
        assert_eq!(ada.get(&path).await.status, 200, "{what}");
        assert_eq!(shop.asked_by("eve", "operator").get(&path).await.status, 200, "{what}");
        assert_eq!(eve.get(&path).await.problem(), "order-not-found", "{what}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_not_issued_is_told_from_what_is_not_there(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let invoice = |query: &str| format!("/v1/orders/{id}/invoice{query}");
    let none = shop.get(&invoice("")).await;
    assert_eq!((none.status.as_u16(), none.problem()), (404, "invoice-not-issued".to_owned()));
    let listed = shop.get(&format!("/v1/orders/{id}/invoices")).await;
    assert_eq!((listed.status.as_u16(), listed.json()), (200, json!([])));
    for unknown in ["?number=INV-000002", "?number=", "?number=%00", "?number=%27"] {
        assert_eq!(shop.get(&invoice(unknown)).await.problem(), "invoice-not-issued", "{unknown}");
    }
    for malformed in ["?format=docx", "?format=", "?shape=html"] {
        assert_eq!(
            shop.get(&invoice(malformed)).await.problem(),
            "malformed-request",
            "{malformed}"
        );
    }
    let nobodys = format!("/v1/orders/{}/invoice", Uuid::now_v7());
    assert_eq!(shop.get(&nobodys).await.problem(), "order-not-found");
}
