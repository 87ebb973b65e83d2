//! Prepayment by bank transfer: the shop's own bank is the payment provider.
//!
//! Nothing is authorised in advance. The customer is told an account, an amount and a reference,
//! and the order waits for the money, for days. Incoming money is read from the bank's files, which
//! an operator [imports](import::import); outgoing money is put on lines of a payment list, which
//! an operator [exports](list) and gives to the bank. The records are the tables of the schema
//! `bank`.
//!
//! | the port | here |
//! |---|---|
//! | `open` | the payment is expected under its reference |
//! | `authorise` | awaits the customer until all of the money has come, and is then authorised |
//! | `capture` | the received money is assigned to the order |
//! | `void` | the payment is no longer expected: money that has come or comes later is returned |
//! | `refund` | lines of the next payment list |
//!
//! **When a refund is made.** Its lines are recorded in the same transaction, are never lost and
//! are each put on one list. For an order that is unwound that is enough: its goods must not stay
//! reserved until somebody exports a list. The customer is told about a refund of a completed
//! order, so it is pending until all of its lines are on a list.
//!
//! **Ledger.** Customers' money that no order has taken is on `customer-credit`: it grows with
//! incoming money and with refunds, and shrinks with what an order captures and with each list.
//! What an order captures is posted by its own steps.

pub(crate) mod camt;
mod element;
pub mod import;
pub mod list;
mod lists;
mod pain;
mod records;

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use domain::bank::{CreditorReference, Iban};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Charge, Money};
use runtime::database::{DatabaseFault, alarm};
use sqlx::PgPool;

pub use self::camt::CamtFault;
pub use self::element::{FILE_MAX, XmlFault};
use self::records::{Expected, Reason, State};
use super::lists::ProviderLists;
use super::port::{
    Approval, Capabilities, Payment, PaymentId, PaymentProvider, ProviderError, Refund,
};

/// The account that customers transfer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankAccount {
    /// The account number.
    pub iban: Iban,
    /// The account holder, as known to the bank.
    pub holder: String,
}

impl BankAccount {
    /// The transfer that a customer has to make, as a `payto:` URI (RFC 8905): account, holder,
    /// amount and reference.
    fn payto(&self, reference: &CreditorReference, amount: Money) -> String {
        let Self { iban, holder } = self;
        let (amount, currency) = (amount.amount(), amount.currency().code());
        let holder = percent_encoded(holder);
        format!(
            "payto://iban/{iban}?amount={currency}:{amount}&receiver-name={holder}\
             &message={reference}"
        )
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a `String` never fails.
            let _taken = write!(encoded, "%{byte:02X}").is_ok();
        }
    }
    encoded
}

/// The shop's bank, accessed by files.
pub struct BankTransferProvider {
    db: PgPool,
    account: BankAccount,
}

/// What this provider cannot do.
const CANNOT: [&str; 4] = [
    "authorise without the customer: they transfer the money",
    "decline: money that does not come in time counts as not approved",
    "refund by itself: an operator hands a payment list to the bank",
    "detect incoming money by itself: an operator imports the bank's files",
];

impl BankTransferProvider {
    /// Expects transfers to this account.
    ///
    /// **Shape.** `db` holds the schema `bank`, with the worker's role.
    #[must_use]
    pub const fn new(db: PgPool, account: BankAccount) -> Self {
        Self { db, account }
    }

    /// The payment, according to its records.
    async fn found(&self, id: &PaymentId) -> Result<Payment, ProviderError> {
        let mut connection = self.db.acquire().await.map_err(failed)?;
        let found = records::read(&mut connection, &reference_of(id)?).await.map_err(failed)?;
        self.told(&found.ok_or(ProviderError::NotFound)?)
    }

    /// The payment, if it is in a state that allows the request.
    async fn found_as(
        &self,
        id: &PaymentId,
        states: &[PaymentState],
    ) -> Result<Payment, ProviderError> {
        let payment = self.found(id).await?;
        if states.contains(&payment.state) { Ok(payment) } else { Err(ProviderError::MovedOn) }
    }

    fn told(&self, expected: &Expected) -> Result<Payment, ProviderError> {
        let Expected { reference, state, captured, refunded, .. } = expected;
        let is_refunded = !captured.is_zero() && refunded.amount() >= captured.amount();
        let missing =
            expected.missing().map_err(|_wrong| nonsense("more came than was expected"))?;
        let (state, approval) = match state {
            State::Opened => (PaymentState::Opened, None),
            State::Awaiting => {
                let url = self.account.payto(reference, missing);
                (PaymentState::AwaitingCustomer, Some(Approval { url, until: None }))
            }
            State::Received => (PaymentState::Authorised, None),
            State::Captured if is_refunded => (PaymentState::Refunded, None),
            State::Captured => (PaymentState::Captured, None),
            State::Closed => (PaymentState::Voided, None),
        };
        Ok(Payment {
            state,
            captured: *captured,
            refunded: *refunded,
            decline_code: None,
            expires_at: None,
            approval,
            risk: None,
            method_country: None,
        })
    }
}

#[async_trait]
impl PaymentProvider for BankTransferProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities { may_lag: Duration::ZERO, keys_last: None, cannot: &CANNOT }
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        let reference = records::expect(&self.db, charge).await.map_err(failed)?;
        Ok(PaymentId(reference.to_string()))
    }

    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        records::await_customer(&self.db, &reference_of(payment)?).await.map_err(failed)?;
        let states = [PaymentState::Authorised, PaymentState::AwaitingCustomer];
        self.found_as(payment, &states).await
    }

    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        let reference = reference_of(payment)?;
        let mut transaction = self.db.begin().await.map_err(failed)?;
        let found = records::lock(&mut transaction, &reference).await.map_err(failed)?;
        let expected = found.ok_or(ProviderError::NotFound)?;
        if expected.state == State::Received {
            let rest = expected.received.checked_sub(amount);
            let rest = rest.map_err(|_more| ProviderError::MovedOn)?;
            records::capture(&mut transaction, &expected, amount, rest).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        self.found_as(payment, &[PaymentState::Captured]).await
    }

    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        let reference = reference_of(payment)?;
        let mut transaction = self.db.begin().await.map_err(failed)?;
        let found = records::lock(&mut transaction, &reference).await.map_err(failed)?;
        let expected = found.ok_or(ProviderError::NotFound)?;
        match expected.state {
            State::Opened | State::Awaiting | State::Received => {
                records::close(&mut transaction, &expected).await.map_err(failed)?;
            }
            State::Captured | State::Closed => {}
        }
        transaction.commit().await.map_err(failed)?;
        self.found_as(payment, &[PaymentState::Voided]).await
    }

    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        let reference = reference_of(payment)?;
        let mut transaction = self.db.begin().await.map_err(failed)?;
        let found = records::lock(&mut transaction, &reference).await.map_err(failed)?;
        let expected = found.ok_or(ProviderError::NotFound)?;
        let made = records::refund(&mut transaction, &reference, refund_key).await;
        if made.map_err(failed)?.is_none() {
            let left = expected.captured.checked_sub(expected.refunded);
            let left = left.and_then(|left| left.checked_sub(amount));
            left.map_err(|_more| ProviderError::MovedOn)?;
            let reason = Reason::Refund(refund_key);
            let line = records::give_back(&mut transaction, &reference, amount, reason).await;
            let line = line.map_err(failed)?;
            let key = format!("bank-refund:{line}");
            records::book(&mut transaction, &key, true, amount).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        self.found_as(payment, &[PaymentState::Captured, PaymentState::Refunded]).await
    }

    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.found(payment).await
    }

    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError> {
        let mut connection = self.db.acquire().await.map_err(failed)?;
        let made = records::refund(&mut connection, &reference_of(payment)?, refund_key).await;
        Ok(made.map_err(failed)?.map(|made| Refund {
            reference: records::name_of_refund(made.first_line),
            state: if made.is_listed { AtProvider::Succeeded } else { AtProvider::Pending },
            amount: made.amount,
            failure: None,
        }))
    }

    fn lists(&self) -> &dyn ProviderLists {
        self
    }
}

fn reference_of(PaymentId(id): &PaymentId) -> Result<CreditorReference, ProviderError> {
    CreditorReference::parse(id).ok_or_else(|| nonsense("there is no such payment"))
}

/// The bank's records are in the shop's database, so its errors are classified like the shop's own.
fn failed(error: sqlx::Error) -> ProviderError {
    const DOING: &str = "keeping the records of bank transfers";
    match DatabaseFault::of(&error) {
        DatabaseFault::Transient => {}
        DatabaseFault::Misdeployed => alarm(DOING, &error),
        DatabaseFault::Broken => return ProviderError::InvalidAnswer(error.into()),
    }
    ProviderError::Unavailable { retry_after: None, source: error.into() }
}

fn nonsense(answer: &'static str) -> ProviderError {
    ProviderError::InvalidAnswer(answer.into())
}

#[cfg(test)]
mod tests {
    use domain::Currency;

    use super::*;

    #[test]
    fn what_a_customer_has_to_transfer_is_a_link_of_printable_letters() {
        let iban = Iban::parse("DE89370400440532013000").unwrap();
        let account = BankAccount { iban, holder: "Käthe & Söhne".to_owned() };
        let amount = Money::new("24.3".parse().unwrap(), Currency::EUR).unwrap();
        let reference = CreditorReference::of("a payment");
        assert_eq!(
            account.payto(&reference, amount),
            format!(
                "payto://iban/DE89370400440532013000?amount=EUR:24.30\
                 &receiver-name=K%C3%A4the%20%26%20S%C3%B6hne&message={reference}"
            ),
        );
    }
}
