//! The account's balance, as changed by payments, refunds and disputes, and its payouts to the
//! shop's bank.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer::{Answer, is_within, page};
use crate::params::Params;
use crate::proxy::{Proxy, now};
use crate::shape::{text, whole};

const TRANSACTIONS: &str = "/v1/balance_transactions";
const PAYOUTS: &str = "/v1/payouts";
/// Stripe's fee for a payment: this many per mille, plus a fixed amount in the smallest unit of the
/// currency.
const FEE_PER_MILLE: i64 = 15;
const FEE_EACH: i64 = 20;

/// All balance transactions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    changes: Vec<Change>,
    payouts: Vec<Value>,
}

#[derive(Debug)]
struct Change {
    /// Contains a snapshot of its whole source.
    transaction: Value,
    /// The payout that includes it.
    payout: Option<String>,
}

/// A change of the balance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Stripe's type.
    pub(crate) kind: &'static str,
    /// Stripe's reporting category.
    pub(crate) category: &'static str,
    /// Negative if it reduces the balance.
    pub(crate) amount: i64,
    pub(crate) fee: i64,
}

impl Moved {
    /// The balance transaction with this id, for this object.
    pub(crate) fn for_source(self, id: &str, source: &Value) -> Value {
        let Self { kind, category, amount, fee } = self;
        json!({
            "id": id,
            "object": "balance_transaction",
            "amount": amount,
            "available_on": now(),
            "created": now(),
            "currency": source["currency"],
            "description": null,
            "exchange_rate": null,
            "fee": fee,
            "fee_details": [],
            "net": amount.saturating_sub(fee),
            "reporting_category": category,
            "source": source,
            "status": "available",
            "type": kind,
        })
    }
}

/// The transaction with only the id of its source.
pub(crate) fn plain(mut transaction: Value) -> Value {
    transaction["source"] = transaction["source"]["id"].take();
    transaction
}

impl Balance {
    pub(crate) fn change(&mut self, transaction: Value) {
        self.changes.push(Change { transaction, payout: None });
    }

    /// The currencies that have amounts to pay out.
    fn currencies(&self) -> BTreeSet<String> {
        let left = self.changes.iter().filter(|change| change.payout.is_none());
        left.map(|change| text(&change.transaction["currency"]).to_owned()).collect()
    }

    /// Pays out all unpaid amounts in this currency.
    fn pay_out(&mut self, currency: &str, id: &str, transaction: &str) -> Value {
        let is_left = |change: &&mut Change| {
            change.payout.is_none() && change.transaction["currency"] == currency
        };
        let mut amount = 0_i64;
        for change in self.changes.iter_mut().filter(is_left) {
            amount = amount.saturating_add(whole(&change.transaction["net"]));
            change.payout = Some(id.to_owned());
        }
        let payout = json!({
            "id": id,
            "object": "payout",
            "amount": amount,
            "arrival_date": now(),
            "automatic": true,
            "balance_transaction": transaction,
            "created": now(),
            "currency": currency,
            "description": "STRIPE PAYOUT",
            "failure_balance_transaction": null,
            "failure_code": null,
            "livemode": false,
            "metadata": {},
            "method": "standard",
            "source_type": "card",
            "status": "paid",
            "type": "bank_account",
        });
        let out = amount.saturating_neg();
        let moved = Moved { kind: "payout", category: "payout", amount: out, fee: 0 };
        let transaction = moved.for_source(transaction, &payout);
        self.changes.push(Change { transaction, payout: Some(id.to_owned()) });
        self.payouts.push(payout.clone());
        payout
    }

    /// The transactions for a list request, newest first.
    fn asked_for(&self, params: &Params) -> Vec<Value> {
        let of = params.get("payout");
        let is_whole = params.list("expand").contains(&"data.source");
        let changes = self.changes.iter().rev();
        let changes = changes.filter(|change| of.is_none() || change.payout.as_deref() == of);
        let found = changes.map(|change| change.transaction.clone());
        let found = found.filter(|transaction| is_within(transaction, params));
        found.map(|one| if is_whole { one } else { plain(one) }).collect()
    }
}

impl Proxy {
    /// A payment was captured, less Stripe's fee.
    pub(crate) fn earned(&self, charge: &Value) {
        let amount = whole(&charge["amount_captured"]);
        let fee = amount.saturating_mul(FEE_PER_MILLE).saturating_div(1_000);
        let fee = fee.saturating_add(FEE_EACH);
        self.moved(charge, Moved { kind: "charge", category: "charge", amount, fee });
    }

    /// A refund reduces the balance.
    pub(crate) fn gave_back(&self, refund: &Value) {
        let amount = whole(&refund["amount"]).saturating_neg();
        self.moved(refund, Moved { kind: "refund", category: "refund", amount, fee: 0 });
    }

    /// A failed refund's amount is returned to the balance.
    pub(crate) fn came_back(&self, refund: &Value) {
        let (kind, amount) = ("refund_failure", whole(&refund["amount"]));
        let moved = Moved { kind, category: kind, amount, fee: 0 };
        let mut memory = self.memory();
        let id = memory.events.id("txn");
        memory.balance.change(moved.for_source(&id, refund));
    }

    /// Under localstripe's id, if it has one.
    fn moved(&self, source: &Value, moved: Moved) {
        let mut memory = self.memory();
        let id = match text(&source["balance_transaction"]) {
            "" => memory.events.id("txn"),
            id => id.to_owned(),
        };
        memory.balance.change(moved.for_source(&id, source));
    }

    /// Pays out the whole balance: one payout per currency.
    pub(crate) fn pay_out(self: &Arc<Self>) -> Value {
        let currencies = self.memory().balance.currencies();
        let payouts = currencies.iter().map(|currency| {
            let payout = {
                let mut memory = self.memory();
                let (id, transaction) = (memory.events.id("po"), memory.events.id("txn"));
                memory.balance.pay_out(currency, &id, &transaction)
            };
            self.happened("payout.paid", &payout);
            payout
        });
        payouts.collect()
    }

    pub(crate) fn list_payouts(&self, params: &Params) -> Result<Answer, Answer> {
        let mut payouts = self.memory().balance.payouts.clone();
        payouts.reverse();
        payouts.retain(|payout| is_within(payout, params));
        page(payouts, PAYOUTS, params).map(Answer::ok)
    }

    pub(crate) fn show_payout(&self, id: &str) -> Result<Answer, Answer> {
        let memory = self.memory();
        let found = memory.balance.payouts.iter().find(|payout| payout["id"] == id);
        found.cloned().map(Answer::ok).ok_or_else(|| Answer::missing("payout", id))
    }

    pub(crate) fn list_transactions(&self, params: &Params) -> Result<Answer, Answer> {
        let found = self.memory().balance.asked_for(params);
        page(found, TRANSACTIONS, params).map(Answer::ok)
    }

    pub(crate) fn show_transaction(&self, id: &str) -> Result<Answer, Answer> {
        let memory = self.memory();
        let mut all = memory.balance.changes.iter().map(|change| &change.transaction);
        let found = all.find(|transaction| transaction["id"] == id).cloned().map(plain);
        found.map(Answer::ok).ok_or_else(|| Answer::missing("balance transaction", id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(balance: &mut Balance, id: &str, currency: &str, amount: i64, fee: i64) {
        let source = json!({ "id": format!("source of {id}"), "currency": currency });
        let moved = Moved { kind: "charge", category: "charge", amount, fee };
        balance.change(moved.for_source(id, &source));
    }

    fn of_payout(balance: &Balance, params: &str) -> Vec<(String, i64)> {
        let found = balance.asked_for(&Params::parse(params.as_bytes()));
        let told = |one: &Value| (text(&one["id"]).to_owned(), whole(&one["net"]));
        found.iter().map(told).collect()
    }

    #[test]
    fn everything_is_paid_out_once_in_its_currency_and_less_its_fees() {
        let mut balance = Balance::default();
        change(&mut balance, "txn_1", "gbp", 1_000, 35);
        change(&mut balance, "txn_2", "eur", 700, 30);
        change(&mut balance, "txn_3", "gbp", -400, 0);
        let currencies = |balance: &Balance| balance.currencies().into_iter().collect::<Vec<_>>();
        assert_eq!(currencies(&balance), ["eur", "gbp"]);
        let payout = balance.pay_out("gbp", "po_1", "txn_4");
        assert_eq!((&payout["amount"], &payout["status"]), (&json!(565), &json!("paid")));
        let named = |id: &str, net| (id.to_owned(), net);
        assert_eq!(
            of_payout(&balance, "payout=po_1"),
            [named("txn_4", -565), named("txn_3", -400), named("txn_1", 965)]
        );
        assert_eq!(currencies(&balance), ["eur"]);
        change(&mut balance, "txn_5", "gbp", 50, 0);
        assert_eq!(balance.pay_out("gbp", "po_2", "txn_6")["amount"], 50);
    }

    #[test]
    fn a_source_is_shown_as_a_whole_only_if_that_is_asked_for() {
        let mut balance = Balance::default();
        change(&mut balance, "txn_1", "gbp", 1_000, 35);
        let source = |params: &str| {
            balance.asked_for(&Params::parse(params.as_bytes()))[0]["source"].clone()
        };
        assert_eq!(source(""), "source of txn_1");
        assert_eq!(source("expand[]=data.source")["currency"], "gbp");
    }
}
