//! Goods come in once, and the books know what they are worth.

use activities::catalogue::{Article, Received, Stocking, load};
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::support::{BABUSHKA, HEART, Shop, breakage, gbp, sku};

const STOCKING: Stocking =
    Stocking { cost_percent: Decimal::from_parts(40, 0, 0, false, 0), pieces: 10 };

fn articles(heart_price: &str) -> [Article; 2] {
    let article = |number: &str, name: &str, price: &str| Article {
        sku: sku(number),
        name: name.to_owned(),
        unit_price: gbp(price),
    };
    [
        article(HEART, "WHITE HANGING HEART T-LIGHT HOLDER", heart_price),
        article(BABUSHKA, "SET 7 BABUSHKA NESTING BOXES", "8.50"),
    ]
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn loading_lists_articles_and_books_what_came_in(db: PgPool) {
    let shop = Shop::on(db);
    let received = load(&shop.owner, &articles("2.95"), STOCKING).await.unwrap();
    assert_eq!(received, Received { articles: 2, value: Some(gbp("45.80")) });
    assert_eq!(shop.pieces_of(HEART).await, (10, 0, 0, 10));
    let inventory = sqlx::query_scalar!(
        "select sum(amount) from ledger.entries where account = 'inventory' and side = 'debit'"
    );
    assert_eq!(inventory.fetch_one(&shop.owner).await.unwrap(), Some(gbp("45.80").amount()));
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn loading_again_changes_prices_and_receives_nothing_twice(db: PgPool) {
    let shop = Shop::on(db);
    load(&shop.owner, &articles("2.95"), STOCKING).await.unwrap();
    let received = load(&shop.owner, &articles("3.25"), STOCKING).await.unwrap();
    assert_eq!(received, Received { articles: 0, value: None });
    assert_eq!(shop.pieces_of(HEART).await, (10, 0, 0, 10));
    let price =
        sqlx::query_scalar!("select unit_price from catalog.products where sku = $1", HEART);
    assert_eq!(price.fetch_one(&shop.owner).await.unwrap(), gbp("3.25").amount());
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn a_list_that_names_an_article_twice_is_not_taken_in_at_all(db: PgPool) {
    let shop = Shop::on(db);
    let [heart, _] = articles("2.95");
    breakage(load(&shop.owner, &[heart.clone(), heart], STOCKING).await);
    let listed = sqlx::query_scalar!(r#"select count(*) as "count!" from catalog.products"#);
    assert_eq!(listed.fetch_one(&shop.owner).await.unwrap(), 0);
}
