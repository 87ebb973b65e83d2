//! A bank, simulated by its statements, and customers who transfer what they are asked for.

use std::time::Duration;

use activities::payment::bank_transfer::BankAccount;
use activities::payment::bank_transfer::import::{Imported, import};
use domain::bank::{CreditorReference, Iban};
use domain::{Order, StepName};
use rust_decimal::Decimal;
use sqlx::PgPool;
use temporalio_client::Client;
use tokio::time::interval;
use worker::bank::tell_news;

const SHOPS_OWN: &str = "GB82WEST12345698765432";

/// The account that customers transfer to.
pub fn account() -> BankAccount {
    BankAccount { iban: Iban::parse(SHOPS_OWN).unwrap(), holder: "The Shop".to_owned() }
}

/// The reference that an order's customer writes on the transfer.
pub fn reference(order: &Order) -> String {
    CreditorReference::of(&order.key(StepName::AuthorisePayment).to_string()).to_string()
}

/// An entry of a statement over this amount in pounds, with the bank's reference.
pub fn transfer(name: &str, pounds: Decimal, text: &str) -> String {
    format!(
        r#"<Ntry><Amt Ccy="GBP">{pounds}</Amt><CdtDbtInd>CRDT</CdtDbtInd>
        <Sts><Cd>BOOK</Cd></Sts><AcctSvcrRef>{name}</AcctSvcrRef>
        <NtryDtls><TxDtls><RltdPties><Dbtr><Pty><Nm>Ada Lovelace</Nm></Pty></Dbtr>
        <DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct></RltdPties>
        <RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"#
    )
}

/// Imports a statement with these entries.
pub async fn take_in(db: &PgPool, entries: &str) -> Imported {
    let file = format!(
        "<Document><BkToCstmrStmt><Stmt><Id>S1</Id>
        <Acct><Id><IBAN>{SHOPS_OWN}</IBAN></Id></Acct>{entries}</Stmt></BkToCstmrStmt></Document>"
    );
    import(db, &account(), file.as_bytes()).await.unwrap()
}

const AWAITED: &str = "select reference, amount from bank.payments
    where state = 'awaiting' and exists (
        select from orders.order_events
        where order_events.order_id = payments.order_id and type = 'payment.awaiting-customer'
    )";

/// Customers who transfer the requested amount as soon as the order's record asks for it, so that
/// every order has the same course and the same calls. Never returns.
pub async fn pay_whatever_is_awaited(db: PgPool, client: Client) {
    let mut looks = interval(Duration::from_millis(100));
    loop {
        looks.tick().await;
        let awaited: Vec<(String, Decimal)> = sqlx::query_as(AWAITED).fetch_all(&db).await.unwrap();
        if awaited.is_empty() {
            continue;
        }
        let transfers = awaited.iter().map(|(name, amount)| transfer(name, *amount, name));
        take_in(&db, &transfers.collect::<String>()).await;
        tell_news(&db, &client).await.unwrap();
    }
}
