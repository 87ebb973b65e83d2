//! Goods are received once, and the ledger has their value.

use activities::catalogue::{Article, Received, Stocking, load, overwrite};
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use sqlx::PgPool;
use testkit::pounds;

use crate::support::{BABUSHKA, HEART, Shop, breakage, sku};

const STOCKING: Stocking =
    Stocking { cost_percent: Decimal::from_parts(40, 0, 0, false, 0), pieces: 10 };

fn articles(heart_price: &str) -> [Article; 2] {
    let article = |number: &str, name: &str, price: &str| Article {
        sku: sku(number),
        name: name.to_owned(),
        unit_price: pounds(price),
    };
    [
        article(HEART, "WHITE HANGING HEART T-LIGHT HOLDER", heart_price),
        article(BABUSHKA, "SET 7 BABUSHKA NESTING BOXES", "8.50"),
    ]
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn loading_lists_articles_and_books_what_came_in(db: PgPool) {
    let shop = Shop::on(db);
    let received = load(&shop.owner, &articles("2.95"), STOCKING).await.unwrap();
    assert_eq!(received, Received { articles: 2, value: Some(pounds("45.80")) });
    assert_eq!(shop.pieces_of(HEART).await, (10, 0, 0, 10));
    let inventory = sqlx::query_scalar!(
        "select sum(amount) from ledger.entries where account = 'inventory' and side = 'debit'"
    );
    assert_eq!(inventory.fetch_one(&shop.owner).await.unwrap(), Some(pounds("45.80").amount()));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn loading_again_adds_new_articles_and_leaves_the_others_as_an_operator_set_them(db: PgPool) {
    let shop = Shop::on(db);
    let [heart, babushka] = articles("2.95");
    load(&shop.owner, &[heart], STOCKING).await.unwrap();
    sqlx::query!("update catalog.products set unit_price = 1.50 where sku = $1", HEART)
        .execute(&shop.owner)
        .await
        .unwrap();
    let [heart, _] = articles("3.25");
    let received = load(&shop.owner, &[heart, babushka], STOCKING).await.unwrap();
    assert_eq!(received, Received { articles: 1, value: Some(pounds("34.00")) });
    assert_eq!(price_of(&shop, HEART).await, pounds("1.50").amount());
    assert_eq!(shop.pieces_of(HEART).await, (10, 0, 0, 10));
    assert_eq!(shop.pieces_of(BABUSHKA).await, (10, 0, 0, 10));
}

/// Somebody has added it to the catalogue by hand, and counts its pieces.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn loading_receives_nothing_of_an_article_that_the_catalogue_has_already(db: PgPool) {
    let shop = Shop::on(db);
    let none = Stocking { pieces: 0, ..STOCKING };
    load(&shop.owner, &articles("2.95"), none).await.unwrap();
    let received = load(&shop.owner, &articles("2.95"), STOCKING).await.unwrap();
    assert_eq!(received, Received { articles: 0, value: None });
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn overwriting_changes_prices_and_receives_nothing_twice(db: PgPool) {
    let shop = Shop::on(db);
    load(&shop.owner, &articles("2.95"), STOCKING).await.unwrap();
    let received = overwrite(&shop.owner, &articles("3.25"), STOCKING).await.unwrap();
    assert_eq!(received, Received { articles: 0, value: None });
    assert_eq!(shop.pieces_of(HEART).await, (10, 0, 0, 10));
    assert_eq!(price_of(&shop, HEART).await, pounds("3.25").amount());
}

async fn price_of(shop: &Shop, sku: &str) -> Decimal {
    let price = sqlx::query_scalar!("select unit_price from catalog.products where sku = $1", sku);
    price.fetch_one(&shop.owner).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_list_that_names_an_article_twice_is_not_taken_in_at_all(db: PgPool) {
    let shop = Shop::on(db);
    let [heart, _] = articles("2.95");
    breakage(load(&shop.owner, &[heart.clone(), heart], STOCKING).await);
    let listed = sqlx::query_scalar!(r#"select count(*) as "count!" from catalog.products"#);
    assert_eq!(listed.fetch_one(&shop.owner).await.unwrap(), 0);
}
