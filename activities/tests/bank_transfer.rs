//! Orders paid by bank transfer: received money is assigned exactly once, and returned money is on
//! exactly one list.

use activities::payment::bank_transfer::import::{
    Became, ImportError, Imported, NotDecided, Unassigned, assign, import, news, pay_to, send_back,
    told, unassigned,
};
use activities::payment::bank_transfer::list::{
    PaymentList, again, next, without_account, written,
};
use activities::payment::bank_transfer::{BankAccount, BankTransferProvider};
use activities::payment::port::{PaymentId, PaymentProvider as _, ProviderError};
use activities::reconcile::{Asked, reconcile};
use activities::{ActivityFault, payment};
use chrono::DateTime;
use domain::bank::{CreditorReference, Iban};
use domain::reconciliation::DifferenceKind;
use domain::refund::AtProvider;
use domain::{AuthorisationAnswer, Money, Order, OrderId, Rejection, StepName};
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use sqlx::PgPool;
use testkit::pounds;

use crate::support::{Shop, order, refusal};

const SHOPS_OWN: &str = "GB82WEST12345698765432";
const PAYERS: &str = "DE89370400440532013000";

fn account() -> BankAccount {
    BankAccount { iban: Iban::parse(SHOPS_OWN).unwrap(), holder: "The Shop".to_owned() }
}

/// A shop whose customers pay by bank transfer.
struct Bank {
    shop: Shop,
    provider: BankTransferProvider,
}

impl Bank {
    fn on(db: PgPool) -> Self {
        let shop = Shop::on(db);
        let provider = BankTransferProvider::new(shop.db.clone(), account());
        Self { shop, provider }
    }

    /// An order on record whose customer has been told what to transfer.
    async fn awaits(&self, number: u32) -> Order {
        let mut order = order(number);
        order.terms.approval_seconds = 604_800;
        self.shop.places(&order).await;
        assert!(self.still_waits(&order).await);
        order
    }

    async fn asks(&self, order: &Order) -> Result<AuthorisationAnswer, ActivityFault> {
        let key = order.key(StepName::AuthorisePayment);
        payment::authorise(&self.shop.db, &self.provider, key).await
    }

    async fn still_waits(&self, order: &Order) -> bool {
        matches!(self.asks(order).await.unwrap(), AuthorisationAnswer::Waits { .. })
    }

    async fn takes_the_money(&self, order: &Order) {
        let authorised = self.asks(order).await.unwrap();
        assert!(matches!(authorised, AuthorisationAnswer::Authorised(_)), "{authorised:?}");
        let key = order.key(StepName::CapturePayment);
        payment::capture(&self.shop.db, &self.provider, key).await.unwrap();
        self.shop.posts(order).await.unwrap();
    }

    /// Undoes the capture and then the authorisation, as an unwinding order does.
    async fn gives_up(&self, order: &Order) {
        let Self { shop, provider } = self;
        let key = order.key(StepName::CapturePayment);
        payment::refund(&shop.db, provider, key).await.unwrap();
        let key = order.key(StepName::AuthorisePayment);
        payment::void(&shop.db, provider, key).await.unwrap();
    }

    async fn imports(&self, file: &str) -> Result<Imported, ImportError> {
        import(&self.shop.db, &account(), file.as_bytes()).await
    }

    /// Imports a file with one transfer; returns what became of it.
    async fn takes_in(&self, entry: &str) -> Became {
        let imported = self.imports(&statement(entry)).await.unwrap();
        let [found] = imported.found.as_slice() else { panic!("{imported:?}") };
        found.became
    }

    async fn next_list(&self) -> Option<PaymentList> {
        next(&self.shop.db, &account()).await.unwrap()
    }

    /// The lines on record: reason, amount, and whether they are on a list.
    async fn lines(&self) -> Vec<(String, Money, bool)> {
        let rows = sqlx::query!(
            r#"select reason, amount, list_id is not null as "is_listed!"
               from bank.lines order by line_id"#
        );
        let rows = rows.fetch_all(&self.shop.db).await.unwrap();
        let line = |amount: Decimal| pounds(&amount.to_string());
        rows.into_iter().map(|row| (row.reason, line(row.amount), row.is_listed)).collect()
    }

    /// An account's balance on its normal side, over the whole ledger.
    async fn balance(&self, account: &str) -> Decimal {
        let balance = sqlx::query_scalar!(
            r#"
            select coalesce(sum(case when side = normal_side then amount else -amount end), 0)
                as "sum!"
            from ledger.entries join ledger.accounts using (account) where account = $1
            "#,
            account,
        );
        balance.fetch_one(&self.shop.db).await.unwrap()
    }

    /// The link that tells the customer what to transfer.
    async fn link(&self, order: &Order) -> String {
        let link = sqlx::query_scalar!(
            r#"select approval_url as "url!" from payments.charges where order_id = $1"#,
            order.order_id.uuid(),
        );
        link.fetch_one(&self.shop.starter).await.unwrap()
    }
}

fn reference(order: &Order) -> CreditorReference {
    CreditorReference::of(&order.key(StepName::AuthorisePayment).to_string())
}

/// A statement with these entries. The same entries give the same file.
fn statement(entries: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>
          <GrpHdr><MsgId>M1</MsgId></GrpHdr>
          <Stmt><Id>S1</Id><Acct><Id><IBAN>{SHOPS_OWN}</IBAN></Id></Acct>{entries}</Stmt>
        </BkToCstmrStmt></Document>"#
    )
}

/// A transfer of Ada's, with this bank reference.
fn transfer(number: u32, amount: Money, text: &str) -> String {
    let (amount, currency) = (amount.amount(), amount.currency().code());
    format!(
        r#"<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd>
        <Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-01</Dt></BookgDt>
        <AcctSvcrRef>B{number}</AcctSvcrRef>
        <NtryDtls><TxDtls><RltdPties><Dbtr><Pty><Nm>Ada Lovelace</Nm></Pty></Dbtr>
        <DbtrAcct><Id><IBAN>{PAYERS}</IBAN></Id></DbtrAcct></RltdPties>
        <RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"#
    )
}

fn paid(order: &Order) -> Became {
    Became::Paid { order: order.order_id, surplus: None }
}

/// The order's total, and amounts that are lower and higher by this.
fn around(order: &Order, pence: &str) -> (Money, Money, Money) {
    let (total, by) = (order.totals.total, pounds(pence));
    (total.checked_sub(by).unwrap(), total, total.checked_add(by).unwrap())
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_transfer_of_what_was_asked_for_pays_the_order_once_and_is_booked(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (total, reference) = (order.totals.total, reference(&order));
    let link = bank.link(&order).await;
    assert_eq!(
        link,
        format!(
            "payto://iban/{SHOPS_OWN}?amount=GBP:{}&receiver-name=The%20Shop&message={reference}",
            total.amount()
        )
    );
    // In lower case, in two pieces and among other words.
    let (head, tail) = reference.as_str().split_at(8);
    let text = format!("thank you - {} {tail}", head.to_lowercase());
    assert_eq!(bank.takes_in(&transfer(1, total, &text)).await, paid(&order));
    assert_eq!(news(&bank.shop.db).await.unwrap(), [order.order_id]);
    told(&bank.shop.db, &[order.order_id]).await.unwrap();
    assert_eq!(news(&bank.shop.db).await.unwrap(), Vec::<OrderId>::new());
    assert_eq!(bank.balance("customer-credit").await, total.amount());
    bank.takes_the_money(&order).await;
    bank.takes_the_money(&order).await;
    assert_eq!(bank.balance("customer-credit").await, Decimal::ZERO);
    assert_eq!(bank.balance("payment-clearing").await, total.amount());
    assert_eq!(bank.balance("customer-deposits").await, total.amount());
    assert_eq!(bank.shop.payment_of(&order).await, "paid");
    assert!(bank.lines().await.is_empty());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_waits_for_the_rest_and_is_paid_by_two_transfers(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (less, total, _) = around(&order, "1.01");
    let text = reference(&order).to_string();
    let part = Became::Part { order: order.order_id, missing: pounds("1.01") };
    assert_eq!(bank.takes_in(&transfer(1, less, &text)).await, part);
    assert!(bank.still_waits(&order).await, "a coin less is not paid");
    assert!(news(&bank.shop.db).await.unwrap().is_empty());
    let link = bank.link(&order).await;
    assert!(link.contains("amount=GBP:1.01&"), "{link}");
    let missing = pounds("1.01");
    assert_eq!(bank.takes_in(&transfer(2, missing, &text)).await, paid(&order));
    bank.takes_the_money(&order).await;
    assert_eq!(bank.balance("payment-clearing").await, total.amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_too_much_goes_back_on_one_list_and_the_order_is_paid(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (_, total, more) = around(&order, "5.70");
    let surplus = pounds("5.70");
    let became = bank.takes_in(&transfer(1, more, reference(&order).as_str())).await;
    assert_eq!(became, Became::Paid { order: order.order_id, surplus: Some(surplus) });
    // Another transfer, by a customer who has forgotten the first.
    let became = bank.takes_in(&transfer(2, total, reference(&order).as_str())).await;
    assert_eq!(became, Became::Paid { order: order.order_id, surplus: Some(total) });
    bank.takes_the_money(&order).await;
    let owed = surplus.checked_add(total).unwrap().amount();
    assert_eq!(bank.balance("customer-credit").await, owed);

    let first = bank.next_list().await.unwrap();
    assert_eq!((first.lines, bank.next_list().await), (2, Some(first.clone())), "not written yet");
    assert_eq!(first.xml.matches("<InstdAmt Ccy=\"GBP\">5.70</InstdAmt>").count(), 1);
    assert_eq!(first.xml.matches(PAYERS).count(), 2);
    assert!(!first.xml.contains(reference(&order).as_str()), "it would pay for the order again");
    written(&bank.shop.db, &first.message_id).await.unwrap();
    assert_eq!(bank.next_list().await, None);
    assert_eq!(again(&bank.shop.db, &first.message_id).await.unwrap(), Some(first));
    assert_eq!(bank.balance("customer-credit").await, Decimal::ZERO);
    assert_eq!(bank.balance("payment-clearing").await, total.amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn lists_that_are_made_at_once_have_no_line_in_common(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (_, _, more) = around(&order, "5.70");
    bank.takes_in(&transfer(1, more, reference(&order).as_str())).await;
    let lists = futures::join!(bank.next_list(), bank.next_list());
    let numbers = [lists.0, lists.1].map(|list| list.map(|list| (list.message_id, list.lines)));
    let mut made: Vec<_> = numbers.into_iter().flatten().collect();
    made.dedup();
    assert_eq!(made.iter().map(|(_, lines)| lines).sum::<usize>(), 1, "{made:?}");
    assert_eq!(bank.lines().await, [("surplus".to_owned(), pounds("5.70"), true)]);
    let moved = "update bank.lines set list_id = null";
    assert!(sqlx::raw_sql(moved).execute(&bank.shop.db).await.is_err(), "a line left its list");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_transfer_that_says_nothing_clear_waits_for_a_person(db: PgPool) {
    let bank = Bank::on(db);
    let (one, other) = (bank.awaits(1).await, bank.awaits(2).await);
    let total = one.totals.total;
    let unknown = CreditorReference::of("nobody's").to_string();
    let both = format!("{} and {}", reference(&one), reference(&other));
    let text = reference(&one).to_string();
    let (head, last) = text.split_at(21);
    let slip = format!("{head}{}", if last == "0" { "1" } else { "0" });
    for (number, text, why) in [
        (1, "for my order", Unassigned::NoReference),
        (2, slip.as_str(), Unassigned::NoReference),
        (3, unknown.as_str(), Unassigned::UnknownReference),
        (4, both.as_str(), Unassigned::SeveralReferences),
    ] {
        let became = bank.takes_in(&transfer(number, total, text)).await;
        assert_eq!(became, Became::Unassigned(why), "{text}");
    }
    let waiting = unassigned(&bank.shop.db).await.unwrap();
    assert_eq!(waiting.len(), 4);
    assert_eq!(waiting[0].why, "no-reference");
    assert_eq!(waiting[0].payer_iban.as_deref(), Some(PAYERS));
    assert!(bank.still_waits(&one).await);

    let (db, account) = (&bank.shop.db, account());
    let by = assign(db, &account, waiting[0].entry, one.order_id, "Ada").await;
    assert_eq!(by.unwrap(), paid(&one));
    let twice = assign(db, &account, waiting[0].entry, other.order_id, "Ada").await;
    assert!(matches!(twice, Err(NotDecided::NotWaiting(_))), "{twice:?}");
    let nobodys = assign(db, &account, waiting[1].entry, order(3).order_id, "Ada").await;
    assert!(matches!(nobodys, Err(NotDecided::NoPayment(_))), "{nobodys:?}");
    assert_eq!(send_back(db, waiting[1].entry, "Ada").await.unwrap(), total);
    assert!(send_back(db, waiting[1].entry, "Ada").await.is_err(), "sent back twice");
    assert_eq!(bank.lines().await, [("unassigned".to_owned(), total, false)]);
    assert_eq!(unassigned(db).await.unwrap().len(), 2);
    bank.takes_the_money(&one).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_assigned_again_is_answered_the_same_and_the_order_is_still_to_be_told(db: PgPool) {
    let bank = Bank::on(db);
    let (db, account) = (&bank.shop.db, account());
    let (whole, part) = (bank.awaits(1).await, bank.awaits(2).await);
    let (more, late) = (bank.awaits(3).await, bank.awaits(4).await);
    bank.shop.unwinds(&late).await;
    bank.gives_up(&late).await;
    let (less, total, over) = around(&whole, "1.01");
    let pound = pounds("1.01");
    let rest = Became::Part { order: part.order_id, missing: pound };
    let surplus = Became::Paid { order: more.order_id, surplus: Some(pound) };
    let back = Became::GoesBack { order: late.order_id };
    let mut entries = Vec::new();
    for (number, order, amount, became) in [
        (1, &whole, total, paid(&whole)),
        (2, &part, less, rest),
        (3, &more, over, surplus),
        (4, &late, total, back),
    ] {
        bank.takes_in(&transfer(number, amount, "for my order")).await;
        let entry = unassigned(db).await.unwrap()[0].entry;
        for _again in 0..2 {
            let by = assign(db, &account, entry, order.order_id, "Ada").await;
            assert_eq!(by.unwrap(), became);
        }
        entries.push(entry);
    }
    let told = news(db).await.unwrap();
    assert!(told.len() == 2 && told.contains(&whole.order_id) && told.contains(&more.order_id));
    let line = |reason: &str, amount| (reason.to_owned(), amount, false);
    assert_eq!(bank.lines().await, [line("surplus", pound), line("closed", total)]);
    // A part that has come meanwhile counts.
    bank.takes_in(&transfer(5, pound, reference(&part).as_str())).await;
    bank.takes_the_money(&more).await;
    for (entry, order, became) in [(entries[1], &part, paid(&part)), (entries[2], &more, surplus)] {
        assert_eq!(assign(db, &account, entry, order.order_id, "Ada").await.unwrap(), became);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_file_and_an_entry_that_come_twice_are_taken_in_once(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let entry = transfer(1, order.totals.total, reference(&order).as_str());
    let file = statement(&entry);
    let (one, other) = futures::join!(bank.imports(&file), bank.imports(&file));
    let [one, other] = [one.unwrap(), other.unwrap()];
    assert_ne!(one.is_known, other.is_known, "each was the first, or neither");
    // The next statement repeats an entry of an earlier notification.
    let more = format!("{entry}{}", transfer(2, pounds("1.00"), "tip"));
    let imported = bank.imports(&statement(&more)).await.unwrap();
    assert_eq!((imported.is_known, imported.known, imported.found.len()), (false, 1, 1));
    bank.takes_the_money(&order).await;
    assert!(bank.lines().await.is_empty(), "nothing came twice");
    assert_eq!(bank.balance("customer-credit").await, pounds("1.00").amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_file_that_is_not_whole_leaves_nothing_behind(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let whole = statement(&transfer(1, order.totals.total, reference(&order).as_str()));
    let torn = &whole[..whole.find("</Stmt>").unwrap()];
    let bomb = whole.replace("<Document", "<!DOCTYPE d [<!ENTITY a \"b\">]><Document");
    let of_another = whole.replace(SHOPS_OWN, PAYERS);
    for (file, word) in [(torn, "whole"), (bomb.as_str(), "DTD"), (of_another.as_str(), PAYERS)] {
        let refused = bank.imports(file).await.unwrap_err();
        let said = runtime::chain(&refused);
        assert!(
            said.starts_with("nothing of the file was taken in") && said.contains(word),
            "{said}"
        );
    }
    // If the database refuses a later entry, the earlier ones are rolled back.
    sqlx::raw_sql("alter table bank.entries add constraint small check (amount <> 7)")
        .execute(&bank.shop.owner)
        .await
        .unwrap();
    let entry = transfer(1, order.totals.total, reference(&order).as_str());
    let both = statement(&format!("{entry}{}", transfer(2, pounds("7.00"), "")));
    assert!(matches!(bank.imports(&both).await, Err(ImportError::Database(_))));
    assert!(bank.still_waits(&order).await);
    assert_eq!(bank.balance("customer-credit").await, Decimal::ZERO);
    assert!(!bank.imports(&whole).await.unwrap().is_known);
    bank.takes_the_money(&order).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn another_currency_and_a_transfer_that_comes_back_pay_for_nothing(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (total, text) = (order.totals.total, reference(&order).to_string());
    let euros = transfer(1, total, &text).replace("\"GBP\"", "\"EUR\"");
    let of_ours = "<TxDtls><Refs><EndToEndId>ordersaga-1</EndToEndId></Refs>";
    let ours = transfer(2, total, &text).replace("<TxDtls>", of_ours);
    let recalled = transfer(3, total, &text).replace("</TxDtls>", "<RtrInf/></TxDtls>");
    for (entry, why) in [
        (euros, Unassigned::OtherCurrency),
        (ours, Unassigned::Returned),
        (recalled, Unassigned::Returned),
    ] {
        assert_eq!(bank.takes_in(&entry).await, Became::Unassigned(why));
    }
    assert!(bank.still_waits(&order).await);
    let waiting = unassigned(&bank.shop.db).await.unwrap();
    let euros = assign(&bank.shop.db, &account(), waiting[0].entry, order.order_id, "Ada").await;
    assert!(matches!(euros, Err(NotDecided::OtherCurrency(_))), "{euros:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_for_a_cancelled_order_goes_back_whether_it_came_before_or_after(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (less, _, _) = around(&order, "1.00");
    let text = reference(&order).to_string();
    bank.takes_in(&transfer(1, less, &text)).await;
    bank.shop.unwinds(&order).await;
    bank.gives_up(&order).await;
    bank.gives_up(&order).await;
    let late = pounds("1.00");
    let became = bank.takes_in(&transfer(2, late, &text)).await;
    assert_eq!(became, Became::GoesBack { order: order.order_id });
    let closed = |amount| ("closed".to_owned(), amount, false);
    assert_eq!(bank.lines().await, [closed(less), closed(late)]);
    assert!(news(&bank.shop.db).await.unwrap().is_empty(), "nobody waits for it");
    assert_eq!(bank.shop.payment_of(&order).await, "voided");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_that_comes_while_the_order_is_given_up_goes_back(db: PgPool) {
    let bank = Bank::on(db);
    for number in 1..=10 {
        let order = bank.awaits(number).await;
        let entry = transfer(number, order.totals.total, reference(&order).as_str());
        bank.shop.unwinds(&order).await;
        futures::join!(bank.takes_in(&entry), bank.gives_up(&order));
        bank.gives_up(&order).await;
    }
    let lines = bank.lines().await;
    assert_eq!(lines.len(), 10, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|(reason, amount, _)| { reason == "closed" && *amount == order(1).totals.total })
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_counts_that_came_before_the_order_was_asked_and_not_after(db: PgPool) {
    let bank = Bank::on(db);
    let (in_time, too_late) = (bank.awaits(1).await, bank.awaits(2).await);
    let paid_by =
        |number, order: &Order| transfer(number, order.totals.total, reference(order).as_str());
    bank.takes_in(&paid_by(1, &in_time)).await;
    bank.shop.time_is_over(&in_time).await;
    bank.takes_the_money(&in_time).await;

    bank.shop.time_is_over(&too_late).await;
    assert_eq!(refusal(bank.asks(&too_late).await), Rejection::PaymentNotApproved);
    let became = bank.takes_in(&paid_by(2, &too_late)).await;
    assert_eq!(became, Became::GoesBack { order: too_late.order_id });
    assert_eq!(refusal(bank.asks(&too_late).await), Rejection::PaymentNotApproved);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_unwound_gives_back_what_it_took_to_each_account_it_came_from(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let (less, total, _) = around(&order, "1.00");
    let text = reference(&order).to_string();
    bank.takes_in(&transfer(1, less, &text)).await;
    bank.takes_in(&transfer(2, pounds("1.00"), &text).replace(PAYERS, "NO9386011117947")).await;
    bank.takes_the_money(&order).await;
    bank.shop.unwinds(&order).await;
    bank.gives_up(&order).await;
    bank.shop.reverses(&order).await.unwrap();
    bank.gives_up(&order).await;
    let refund = |amount| ("refund".to_owned(), amount, false);
    assert_eq!(bank.lines().await, [refund(less), refund(pounds("1.00"))]);
    assert_eq!(bank.shop.payment_of(&order).await, "refunded");
    // Until the list is made, the shop holds the money and owes it.
    assert_eq!(bank.balance("payment-clearing").await, total.amount());
    assert_eq!(bank.balance("customer-credit").await, total.amount());
    let list = bank.next_list().await.unwrap();
    assert!(list.xml.contains(PAYERS) && list.xml.contains("NO9386011117947"), "{}", list.xml);
    assert_eq!(bank.balance("payment-clearing").await, Decimal::ZERO);
    assert_eq!(bank.balance("customer-credit").await, Decimal::ZERO);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_is_pending_until_all_of_it_stands_on_a_list_and_never_too_much(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    let total = order.totals.total;
    bank.takes_in(&transfer(1, total, reference(&order).as_str())).await;
    bank.takes_the_money(&order).await;
    let (id, provider) = (PaymentId(reference(&order).to_string()), &bank.provider);
    assert_eq!(provider.look_up_refund(&id, "k").await.unwrap(), None);
    for _ in 0..2 {
        provider.refund(&id, "k", pounds("3.00")).await.unwrap();
        let refund = provider.look_up_refund(&id, "k").await.unwrap().unwrap();
        assert_eq!((refund.state, refund.amount), (AtProvider::Pending, pounds("3.00")));
    }
    let too_much = provider.refund(&id, "l", total).await.unwrap_err();
    assert!(matches!(too_much, ProviderError::MovedOn), "{too_much}");
    bank.next_list().await.unwrap();
    let refund = provider.look_up_refund(&id, "k").await.unwrap().unwrap();
    assert_eq!(refund.state, AtProvider::Succeeded);
    assert_eq!(bank.lines().await, [("refund".to_owned(), pounds("3.00"), true)]);
    let rest = total.checked_sub(pounds("3.00")).unwrap();
    provider.refund(&id, "l", rest).await.unwrap();
    let refunded = provider.look_up(&id).await.unwrap();
    assert_eq!(refunded.state, domain::payment::PaymentState::Refunded);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_whose_account_is_unknown_waits_off_the_list_until_somebody_says_where_to(
    db: PgPool,
) {
    let bank = Bank::on(db);
    let nameless = transfer(1, pounds("9.00"), "hello").replace(PAYERS, "unknown");
    bank.takes_in(&nameless).await;
    let entry = unassigned(&bank.shop.db).await.unwrap()[0].entry;
    send_back(&bank.shop.db, entry, "Ada").await.unwrap();
    assert_eq!(bank.next_list().await, None);
    assert_eq!(without_account(&bank.shop.db).await.unwrap(), [entry]);
    let iban = Iban::parse(PAYERS).unwrap();
    let payer = BankAccount { iban, holder: "Ada Lovelace".to_owned() };
    pay_to(&bank.shop.db, entry, &payer, "Ada").await.unwrap();
    let list = bank.next_list().await.unwrap();
    assert!(list.xml.contains(PAYERS), "{}", list.xml);
    let later = pay_to(&bank.shop.db, entry, &payer, "Ada").await;
    assert!(matches!(later, Err(NotDecided::Listed(_))), "a list has changed");
    // The bank reports that it has executed the line.
    let line = list.xml.split("<EndToEndId>").nth(1).unwrap().split('<').next().unwrap();
    let of_ours = format!("<TxDtls><Refs><EndToEndId>{line}</EndToEndId></Refs>");
    let out = transfer(2, pounds("9.00"), "").replace("CRDT", "DBIT").replace("<TxDtls>", &of_ours);
    assert!(bank.imports(&statement(&out)).await.unwrap().found.is_empty());
    let executed = sqlx::query_scalar!(
        r#"select count(*) as "count!" from bank.lines where executed_on = '2026-11-01'"#
    );
    assert_eq!(executed.fetch_one(&bank.shop.db).await.unwrap(), 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn transfers_are_compared_with_the_orders_payments_as_any_providers_are(db: PgPool) {
    let bank = Bank::on(db);
    let order = bank.awaits(1).await;
    bank.takes_in(&transfer(1, order.totals.total, reference(&order).as_str())).await;
    bank.takes_the_money(&order).await;
    let id = PaymentId(reference(&order).to_string());
    bank.provider.refund(&id, "by hand", pounds("3.00")).await.unwrap();
    sqlx::raw_sql("update orders.orders set updated_at = now() - interval '1 hour'")
        .execute(&bank.shop.owner)
        .await
        .unwrap();
    let asked = Asked {
        name: "first".to_owned(),
        from: Some(DateTime::UNIX_EPOCH),
        to: DateTime::from_timestamp(4_000_000_000, 0),
        days: 30,
    };
    let report = reconcile(&bank.shop.db, &bank.provider, &asked).await.unwrap();
    assert_eq!((report.payments, report.refunds, report.payouts), (1, 1, 0));
    let told: Vec<_> = report.differences.iter().map(|one| (one.kind, &*one.subject)).collect();
    assert_eq!(told, [(DifferenceKind::RefundedOnlyThere, reference(&order).as_str())]);
}
