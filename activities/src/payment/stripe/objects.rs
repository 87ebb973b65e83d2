//! Stripe's objects, reduced to the fields that the shop reads, and the meaning of their states.
//! Other fields are not read, and errors contain at most single words of an object.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;

use chrono::DateTime;
use domain::dispute::{DisputeFacts, DisputeStatus, Movement, MovementKind};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::screening::RiskLevel;
use domain::{
    CountryCode, Currency, Money, OrderId, ProviderEvent, is_foreign_id, of_stripe_units,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tracing::warn;

use crate::payment::lists::{
    self, ListedPayment, ListedRefund, PayoutState, Settled, SettledKind, Standing,
};
use crate::payment::port::{
    self, Approval, EventPage, FoundRefund, Payment, PaymentId, ProviderError,
};

/// A payment: Stripe's `PaymentIntent`.
#[derive(Deserialize)]
pub(super) struct Intent {
    id: String,
    status: Status,
    currency: String,
    #[serde(default)]
    amount: u64,
    #[serde(default)]
    amount_received: u64,
    #[serde(default)]
    created: i64,
    latest_charge: Option<LatestCharge>,
    last_payment_error: Option<Problem>,
    next_action: Option<NextAction>,
    metadata: Option<Metadata>,
    /// Set if the account's staff has to review it, by Stripe's rules.
    review: Option<IgnoredAny>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
    /// A status that a later version of the API has.
    #[serde(other)]
    Unknown,
}

/// The charge itself, if it was expanded, or its id alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum LatestCharge {
    Whole(Box<Charged>),
    Named(String),
}

/// The bank transaction: Stripe's `Charge`.
#[derive(Deserialize)]
struct Charged {
    amount: u64,
    /// The refunded amount, including refunds in progress; after a partial capture, also the amount
    /// never captured.
    #[serde(default)]
    amount_refunded: u64,
    /// Whether that is the whole amount.
    #[serde(default)]
    refunded: bool,
    payment_method_details: Option<MethodDetails>,
    outcome: Option<ChargeOutcome>,
}

/// Stripe's assessment of a charge.
#[derive(Deserialize)]
struct ChargeOutcome {
    risk_level: Option<String>,
}

#[derive(Deserialize)]
struct MethodDetails {
    card: Option<CardDetails>,
}

#[derive(Deserialize)]
struct CardDetails {
    capture_before: Option<i64>,
    /// The country of the card's issuer.
    country: Option<String>,
}

#[derive(Deserialize)]
struct NextAction {
    redirect_to_url: Option<Redirect>,
}

#[derive(Deserialize)]
struct Redirect {
    url: Option<String>,
}

/// The shop's metadata on an object.
#[derive(Deserialize)]
struct Metadata {
    order_id: Option<String>,
    refund_key: Option<String>,
    /// Why Stripe refused the customer's payment method.
    refused: Option<String>,
}

/// A refund.
#[derive(Deserialize)]
pub(super) struct Refund {
    #[serde(default)]
    id: String,
    #[serde(default)]
    amount: u64,
    #[serde(default)]
    currency: String,
    failure_reason: Option<String>,
    status: Option<RefundStatus>,
    metadata: Option<Metadata>,
    /// The refunded payment.
    payment_intent: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefundStatus {
    Pending,
    RequiresAction,
    Succeeded,
    Failed,
    Canceled,
    #[serde(other)]
    Unknown,
}

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refunding {
    /// The money is on its way to the customer, as far as Stripe is concerned.
    Done,
    /// The outcome is open.
    Undecided,
    /// The money has come back to the shop.
    Failed,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// A page of refunds.
pub(super) type Refunds = List<Refund>;

/// A payout.
#[derive(Deserialize)]
pub(super) struct Payout {
    id: String,
    amount: i64,
    currency: String,
    status: PayoutStatus,
    balance_transaction: Option<String>,
    failure_balance_transaction: Option<String>,
    #[serde(default)]
    automatic: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PayoutStatus {
    Paid,
    Pending,
    InTransit,
    Canceled,
    Failed,
    #[serde(other)]
    Unknown,
}

/// A dispute of the customer's bank.
#[derive(Deserialize)]
pub(super) struct Dispute {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    amount: u64,
    #[serde(default)]
    currency: String,
    status: BankStatus,
    reason: Option<String>,
    /// `None`: the charge was made without one.
    payment_intent: Option<Named>,
    charge: Option<Named>,
    evidence_details: Option<EvidenceDetails>,
    #[serde(default)]
    balance_transactions: Vec<BalanceTransaction>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BankStatus {
    WarningNeedsResponse,
    WarningUnderReview,
    WarningClosed,
    NeedsResponse,
    UnderReview,
    Prevented,
    Lost,
    Won,
    #[serde(other)]
    Unknown,
}

/// An object, or its id alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Id(String),
    Whole { id: String },
}

#[derive(Deserialize)]
struct EvidenceDetails {
    due_by: Option<i64>,
}

/// A change of the account's balance: Stripe's `BalanceTransaction`.
#[derive(Deserialize)]
pub(super) struct BalanceTransaction {
    #[serde(default)]
    id: String,
    /// Negative: the balance decreases.
    #[serde(default)]
    amount: i64,
    #[serde(default)]
    currency: String,
    /// Negative: Stripe returns it.
    #[serde(default)]
    fee: i64,
    #[serde(default, rename = "type")]
    kind: String,
    source: Option<Source>,
}

/// The source of a balance transaction, if it was expanded, or its id alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Whole(SourceObject),
    Named(String),
}

/// A charge, a refund, a dispute or something else.
#[derive(Deserialize)]
struct SourceObject {
    #[serde(default)]
    id: String,
    payment_intent: Option<String>,
}

/// A page of events, the newest first.
#[derive(Deserialize)]
pub(super) struct Events {
    data: Vec<Listed>,
    #[serde(default)]
    has_more: bool,
}

/// An event of a list. An unreadable one must not prevent the others from being read.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Read(Box<ProviderEvent>),
    Unreadable { id: String },
}

/// The body of a refusal.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) error: Problem,
}

/// Why Stripe, or the bank, refuses.
#[derive(Deserialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    /// The payment's state then.
    pub(super) payment_intent: Option<Box<Intent>>,
}

impl Intent {
    /// Its validated id: it becomes a part of later requests' paths.
    pub(super) fn id(&self) -> Result<PaymentId, ProviderError> {
        let id = PaymentId(self.id.clone());
        if intent_id(&id).is_some() { Ok(id) } else { Err(nonsense("a payment without an id")) }
    }

    /// Converts to the shop's type. A refunded payment also has the status of a captured one; only
    /// its refunds tell.
    ///
    /// **Errors.** Unavailable while nothing is decided.
    pub(super) fn payment(&self) -> Result<Payment, ProviderError> {
        let state = self.state()?;
        let captured = if state == PaymentState::Captured { self.amount_received } else { 0 };
        let expires_at = self.card().and_then(|card| card.capture_before);
        let expires_at = expires_at.and_then(|at| DateTime::from_timestamp(at, 0));
        let approval = self.next_action.as_ref().and_then(|next| next.redirect_to_url.as_ref());
        let approval = approval.and_then(|redirect| redirect.url.clone());
        Ok(Payment {
            state,
            captured: self.money(captured)?,
            refunded: self.money(self.given_back())?,
            decline_code: self.decline_code().map(str::to_owned),
            expires_at: expires_at.filter(|_| state == PaymentState::Authorised),
            approval: approval
                .filter(|_| state == PaymentState::AwaitingCustomer)
                .map(|url| Approval { url, until: None }),
            risk: self.risk(),
            method_country: self.method_country(),
        })
    }

    /// Stripe's risk level. `None` if Stripe did not assess it.
    fn risk(&self) -> Option<RiskLevel> {
        let outcome = self.charge().and_then(|charge| charge.outcome.as_ref());
        let told = match outcome.and_then(|outcome| outcome.risk_level.as_deref()) {
            Some("normal") => Some(RiskLevel::Normal),
            Some("elevated") => Some(RiskLevel::Elevated),
            Some("highest") => Some(RiskLevel::Highest),
            Some(_) | None => None,
        };
        told.max(self.review.as_ref().map(|_open| RiskLevel::Elevated))
    }

    fn method_country(&self) -> Option<CountryCode> {
        CountryCode::parse(self.card()?.country.as_deref()?).ok()
    }

    fn state(&self) -> Result<PaymentState, ProviderError> {
        match self.status {
            Status::RequiresPaymentMethod if self.decline_code().is_some() => {
                Ok(PaymentState::Declined)
            }
            Status::RequiresPaymentMethod | Status::RequiresConfirmation => {
                Ok(PaymentState::Opened)
            }
            Status::RequiresAction => Ok(PaymentState::AwaitingCustomer),
            Status::Processing => Err(undecided("the payment is being processed")),
            Status::RequiresCapture => Ok(PaymentState::Authorised),
            Status::Succeeded => Ok(PaymentState::Captured),
            Status::Canceled => Ok(PaymentState::Voided),
            Status::Unknown => Err(nonsense("a payment in a state that is not known")),
        }
    }

    /// The decline code, if the bank declined, or Stripe refused the payment method.
    fn decline_code(&self) -> Option<&str> {
        if self.status != Status::RequiresPaymentMethod {
            return None;
        }
        let refused = self.metadata.as_ref().and_then(|metadata| metadata.refused.as_deref());
        let declined = || self.last_payment_error.as_ref().map(Problem::decline_code);
        refused.map(|refused| word(Some(refused))).or_else(declined)
    }

    /// Converts to a list's item. A single payment that is not understood does not prevent the
    /// others from being read.
    ///
    /// **Errors.** It has no id.
    pub(super) fn listed(&self) -> Result<ListedPayment, ProviderError> {
        let order_id = self.metadata.as_ref().and_then(|metadata| metadata.order_id.as_deref());
        let order_id = order_id.and_then(|id| Some(OrderId::of(id.parse().ok()?)));
        let opened_at = DateTime::from_timestamp(self.created, 0);
        Ok(ListedPayment {
            id: self.id()?,
            order_id,
            opened_at: opened_at.ok_or_else(|| nonsense("a moment that is none"))?,
            standing: self.standing(),
        })
    }

    fn standing(&self) -> Standing {
        let known = || {
            let Payment { state, captured, refunded, .. } = self.payment()?;
            let is_refunded = !captured.is_zero() && captured == refunded;
            Ok::<_, ProviderError>(Standing::Known {
                state: if is_refunded { PaymentState::Refunded } else { state },
                amount: self.money(self.amount)?,
                captured,
                refunded,
            })
        };
        known().unwrap_or_else(|error| match error {
            ProviderError::Unavailable { .. } => Standing::Undecided,
            ProviderError::MovedOn | ProviderError::NotFound | ProviderError::InvalidAnswer(_) => {
                Standing::Unreadable
            }
        })
    }

    /// The refunded part of the captured amount, including refunds in progress. After a partial
    /// capture, Stripe also counts the amount never captured as refunded.
    fn given_back(&self) -> u64 {
        let Some(charge) = self.charge().filter(|_| self.status == Status::Succeeded) else {
            return 0;
        };
        let never_taken = charge.amount.saturating_sub(self.amount_received);
        charge.amount_refunded.saturating_sub(never_taken).min(self.amount_received)
    }

    /// Whether everything charged is refunded, or being refunded.
    pub(super) fn may_be_given_back(&self) -> bool {
        self.status == Status::Succeeded && self.charge().is_some_and(|charge| charge.refunded)
    }

    /// Whether these refunds have returned the whole captured amount. A pending one may still fail,
    /// and then the money is the shop's again.
    pub(super) fn is_given_back(&self, refunds: &[Refund]) -> bool {
        let done = refunds.iter().filter(|refund| refund.outcome() == Refunding::Done);
        let returned = done.fold(0_u64, |sum, refund| sum.saturating_add(refund.amount));
        let is_decided = refunds.iter().all(|refund| refund.outcome() != Refunding::Undecided);
        self.may_be_given_back() && is_decided && returned >= self.amount_received
    }

    /// Whether this exceeds the unrefunded amount, in Stripe's units. If nothing is left, Stripe
    /// itself refuses.
    pub(super) fn has_less_left_than(&self, units: u64) -> bool {
        let left = self.charge().map(|charge| charge.amount.saturating_sub(charge.amount_refunded));
        left.is_some_and(|left| left > 0 && left < units)
    }

    fn charge(&self) -> Option<&Charged> {
        match self.latest_charge.as_ref()? {
            LatestCharge::Whole(charge) => Some(charge.as_ref()),
            LatestCharge::Named(_id) => None,
        }
    }

    fn card(&self) -> Option<&CardDetails> {
        self.charge()?.payment_method_details.as_ref()?.card.as_ref()
    }

    fn money(&self, units: u64) -> Result<Money, ProviderError> {
        money_of(units, &self.currency)
    }
}

fn money_of(units: u64, currency: &str) -> Result<Money, ProviderError> {
    let currency = Currency::from_code(&currency.to_ascii_uppercase());
    let money = currency.and_then(|currency| of_stripe_units(units, currency));
    money.ok_or_else(|| nonsense("an amount that is none"))
}

/// An amount that may be negative.
fn signed(units: i64, currency: &str) -> Result<(Decimal, Currency), ProviderError> {
    let money = money_of(units.unsigned_abs(), currency)?;
    let mut amount = money.amount();
    amount.set_sign_negative(units < 0);
    Ok((amount, money.currency()))
}

impl Payout {
    /// Converts to the shop's type.
    ///
    /// **Errors.** Its id or its amount is invalid.
    pub(super) fn listed(self) -> Result<lists::Payout, ProviderError> {
        if !is_word(&self.id, "po_") {
            return Err(nonsense("a payout without an id"));
        }
        let (amount, currency) = signed(self.amount, &self.currency)?;
        let state = match self.status {
            PayoutStatus::Paid => PayoutState::Paid,
            PayoutStatus::Canceled | PayoutStatus::Failed => {
                PayoutState::Failed { returned_by: self.failure_balance_transaction }
            }
            PayoutStatus::Pending | PayoutStatus::InTransit | PayoutStatus::Unknown => {
                PayoutState::Pending
            }
        };
        let (transaction, is_itemised) = (self.balance_transaction, self.automatic);
        Ok(lists::Payout { id: self.id, transaction, state, amount, currency, is_itemised })
    }

    /// Its id, unvalidated.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl BalanceTransaction {
    /// Converts to the shop's type.
    ///
    /// **Errors.** Its id or an amount is invalid.
    pub(super) fn listed(self) -> Result<Settled, ProviderError> {
        if !is_word(&self.id, "txn_") {
            return Err(nonsense("a balance transaction without an id"));
        }
        let (amount, currency) = signed(self.amount, &self.currency)?;
        let (fee, _currency) = signed(self.fee, &self.currency)?;
        let (source, payment) = match self.source {
            Some(Source::Whole(SourceObject { id, payment_intent })) => (id, payment_intent),
            Some(Source::Named(id)) => (id, None),
            None => (String::new(), None),
        };
        let payment = payment.map(PaymentId);
        let kind = match self.kind.as_str() {
            "charge" | "payment" => SettledKind::Charge,
            "refund" | "payment_refund" => SettledKind::Refund,
            "stripe_fee" | "stripe_fx_fee" | "network_cost" | "tax_fee" => SettledKind::Fee,
            "payout" | "payout_cancel" | "payout_failure" => SettledKind::Payout,
            _ if dispute_id(&source).is_some() => SettledKind::Dispute,
            _ => SettledKind::Other,
        };
        Ok(Settled { id: self.id, kind, payment, amount, fee, currency })
    }

    /// Its id, unvalidated.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Refund {
    /// Whether it was requested under this key.
    pub(super) fn is_of(&self, refund_key: &str) -> bool {
        let key = self.metadata.as_ref().and_then(|metadata| metadata.refund_key.as_deref());
        key == Some(refund_key)
    }

    /// Its outcome.
    pub(super) fn outcome(&self) -> Refunding {
        match self.status {
            Some(RefundStatus::Succeeded) => Refunding::Done,
            Some(RefundStatus::Failed | RefundStatus::Canceled) => Refunding::Failed,
            Some(RefundStatus::Pending | RefundStatus::RequiresAction | RefundStatus::Unknown)
            | None => Refunding::Undecided,
        }
    }

    /// Converts to a list's item; `None` if its payment is not of this kind.
    ///
    /// **Errors.** It has no id.
    pub(super) fn listed(self) -> Result<Option<ListedRefund>, ProviderError> {
        if !is_word(&self.id, "re_") && !is_word(&self.id, "pyr_") {
            return Err(nonsense("a refund without an id"));
        }
        let state = self.state();
        let payment = self.payment_intent.map(PaymentId);
        let Some(payment) = payment.filter(|payment| intent_id(payment).is_some()) else {
            return Ok(None);
        };
        let key = self.metadata.and_then(|metadata| metadata.refund_key);
        let key = key.filter(|key| is_foreign_id(key));
        Ok(Some(ListedRefund { id: self.id, payment, key, state }))
    }

    /// Its id, unvalidated.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> AtProvider {
        match self.outcome() {
            Refunding::Done => AtProvider::Succeeded,
            Refunding::Undecided => AtProvider::Pending,
            Refunding::Failed => AtProvider::Failed,
        }
    }

    /// Converts to the shop's type.
    pub(super) fn as_known(&self) -> Result<port::Refund, ProviderError> {
        if self.id.is_empty() {
            return Err(nonsense("a refund without an id"));
        }
        Ok(port::Refund {
            reference: self.id.clone(),
            state: self.state(),
            amount: money_of(self.amount, &self.currency)?,
            failure: self.failure_reason.as_deref().map(|why| word(Some(why)).to_owned()),
        })
    }
}

impl Dispute {
    /// Converts to the shop's type.
    pub(super) fn facts(&self) -> Result<DisputeFacts, ProviderError> {
        let named = self.payment_intent.as_ref().or(self.charge.as_ref());
        let Some(payment) = named.map(Named::id).filter(|id| !id.is_empty()) else {
            return Err(nonsense("a dispute of no payment"));
        };
        let due = self.evidence_details.as_ref().and_then(|details| details.due_by);
        let amount = money_of(self.amount, &self.currency)?;
        let moved = self.balance_transactions.iter().map(|moved| moved.movements(amount));
        Ok(DisputeFacts {
            dispute_id: self.id.clone(),
            payment_reference: payment.to_owned(),
            amount,
            status: self.status()?,
            reason: word(self.reason.as_deref()).to_owned(),
            evidence_due: due.and_then(|due| DateTime::from_timestamp(due, 0)),
            movements: moved.collect::<Result<Vec<_>, _>>()?.concat(),
        })
    }

    fn status(&self) -> Result<DisputeStatus, ProviderError> {
        match self.status {
            BankStatus::WarningNeedsResponse => Ok(DisputeStatus::WarningNeedsResponse),
            BankStatus::WarningUnderReview => Ok(DisputeStatus::WarningUnderReview),
            BankStatus::WarningClosed => Ok(DisputeStatus::WarningClosed),
            BankStatus::NeedsResponse => Ok(DisputeStatus::NeedsResponse),
            BankStatus::UnderReview => Ok(DisputeStatus::UnderReview),
            BankStatus::Prevented => Ok(DisputeStatus::Prevented),
            BankStatus::Lost => Ok(DisputeStatus::Lost),
            BankStatus::Won => Ok(DisputeStatus::Won),
            BankStatus::Unknown => Err(nonsense("a dispute in a state that is not known")),
        }
    }
}

impl Named {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Whole { id } => id,
        }
    }
}

impl BalanceTransaction {
    /// Its movements, given the disputed amount.
    fn movements(&self, disputed: Money) -> Result<Vec<Movement>, ProviderError> {
        if self.id.is_empty() {
            return Err(nonsense("a balance transaction without an id"));
        }
        let is_of_the_dispute = self.currency.eq_ignore_ascii_case(disputed.currency().code());
        let moved = if is_of_the_dispute {
            money_of(self.amount.unsigned_abs(), &self.currency)?
        } else {
            disputed
        };
        let fee = money_of(self.fee.unsigned_abs(), &self.currency)?;
        let (withdrawn, taken) = (MovementKind::Withdrawn, MovementKind::Fee);
        let (reinstated, returned) = (MovementKind::Reinstated, MovementKind::FeeReturned);
        let kinds = [
            (self.amount, if self.amount < 0 { withdrawn } else { reinstated }, moved),
            (self.fee, if self.fee < 0 { returned } else { taken }, fee),
        ];
        let movements = kinds.into_iter().filter(|(units, _, _)| *units != 0);
        let reference = &self.id;
        let movements = movements.map(|(_, kind, amount)| {
            let reference = reference.clone();
            Movement { reference, kind, amount }
        });
        Ok(movements.collect())
    }
}

impl Refund {
    /// The refund, with its payment and key.
    pub(super) fn found(&self) -> Result<FoundRefund, ProviderError> {
        let key = self.metadata.as_ref().and_then(|metadata| metadata.refund_key.clone());
        let payment = self.payment_intent.clone().map(PaymentId);
        let payment = payment.filter(|payment| intent_id(payment).is_some());
        Ok(FoundRefund { payment, key, refund: self.as_known()? })
    }
}

impl Events {
    /// The page, without the events that cannot be read.
    pub(super) fn page(self) -> Result<EventPage, ProviderError> {
        let last = self.data.last().map(|listed| match listed {
            Listed::Read(event) => event.id.clone(),
            Listed::Unreadable { id } => id.clone(),
        });
        let next = match last {
            None if self.has_more => return Err(nonsense("an empty page that has a next one")),
            last => last.filter(|_last| self.has_more),
        };
        let events = self.data.into_iter().filter_map(|listed| match listed {
            Listed::Read(event) if !event.is_of_another_account => Some(*event),
            Listed::Read(_) => None,
            Listed::Unreadable { .. } => {
                warn!("Stripe lists an event that cannot be read, which is left out");
                None
            }
        });
        Ok(EventPage { events: events.collect(), next })
    }
}

impl Problem {
    pub(super) fn kind(&self) -> &str {
        word(self.kind.as_deref())
    }

    pub(super) fn code(&self) -> &str {
        word(self.code.as_deref())
    }

    /// The parameter that it is about.
    pub(super) fn parameter(&self) -> &str {
        word(self.param.as_deref())
    }

    /// The bank's reason, or Stripe's.
    pub(super) fn decline_code(&self) -> &str {
        word(self.decline_code.as_deref().or(self.code.as_deref()))
    }

    /// Whether the key was used with other parameters before, as by another release.
    pub(super) fn is_of_other_parameters(&self) -> bool {
        self.kind() == "idempotency_error"
    }

    /// Whether Stripe refuses the customer's payment method.
    pub(super) fn is_about_the_method(&self) -> bool {
        matches!(self.parameter(), "payment_method" | "customer")
            || self.kind() == "card_error"
            || self.code().starts_with("payment_method_")
    }
}

/// A single word of Stripe's, if it is one. No other text is passed on.
fn word(text: Option<&str>) -> &str {
    let is_letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_[]".contains(&byte);
    text.filter(|text| (1..=64).contains(&text.len()) && text.bytes().all(is_letter))
        .unwrap_or("unspecified")
}

/// The id of a payment, if it has Stripe's format.
pub(super) fn intent_id(PaymentId(id): &PaymentId) -> Option<&str> {
    is_word(id, "pi_").then_some(id.as_str())
}

/// Whether it is an id of Stripe's with this prefix: it becomes a part of later requests.
pub(super) fn is_word(id: &str, beginning: &str) -> bool {
    let is_word = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    id.starts_with(beginning) && is_word && id.len() <= 255
}

/// The id of a dispute, if it has Stripe's format.
pub(super) fn dispute_id(id: &str) -> Option<&str> {
    ["dp_", "du_"].iter().any(|kind| is_word(id, kind)).then_some(id)
}

/// The id of a refund, if it has Stripe's format.
pub(super) fn refund_id(reference: &str) -> Option<&str> {
    ["re_", "pyr_"].iter().any(|kind| is_word(reference, kind)).then_some(reference)
}

pub(super) fn undecided(why: &'static str) -> ProviderError {
    ProviderError::Unavailable { retry_after: None, source: why.into() }
}

pub(super) fn nonsense(answer: &'static str) -> ProviderError {
    ProviderError::InvalidAnswer(answer.into())
}

#[cfg(test)]
mod tests {
    use domain::json;
    use serde_json::{Value, json};

    use super::*;

    /// An intent over 24.30 pounds with these fields, decoded like any answer.
    fn intent(fields: &Value) -> Intent {
        let mut body = json!({
            "id": "pi_1a", "object": "payment_intent", "amount": 2_430, "currency": "gbp",
            "metadata": {}, "latest_charge": null, "next_action": null, "last_payment_error": null,
        });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        json::from_slice(body.to_string().as_bytes()).unwrap()
    }

    fn state_of(fields: &Value) -> PaymentState {
        intent(fields).payment().unwrap().state
    }

    #[test]
    fn every_status_of_a_payment_has_a_meaning() {
        for (status, state) in [
            ("requires_payment_method", PaymentState::Opened),
            ("requires_confirmation", PaymentState::Opened),
            ("requires_action", PaymentState::AwaitingCustomer),
            ("requires_capture", PaymentState::Authorised),
            ("succeeded", PaymentState::Captured),
            ("canceled", PaymentState::Voided),
        ] {
            assert_eq!(state_of(&json!({"status": status})), state, "{status}");
        }
        let processing = intent(&json!({"status": "processing"})).payment().unwrap_err();
        assert!(matches!(processing, ProviderError::Unavailable { .. }), "{processing:?}");
        let unknown = intent(&json!({"status": "requires_patience"})).payment().unwrap_err();
        assert!(matches!(unknown, ProviderError::InvalidAnswer(_)), "{unknown:?}");
    }

    #[test]
    fn a_decline_is_told_in_the_banks_word_and_in_no_more() {
        for (error, code) in [
            (json!({"code": "card_declined", "decline_code": "lost_card"}), "lost_card"),
            (json!({"code": "expired_card"}), "expired_card"),
            (json!({}), "unspecified"),
            (json!({"decline_code": "Ada Lovelace, 12 St James's Square"}), "unspecified"),
            (json!({"decline_code": "a".repeat(65)}), "unspecified"),
        ] {
            let fields = json!({"status": "requires_payment_method", "last_payment_error": error});
            let payment = intent(&fields).payment().unwrap();
            assert_eq!(payment.state, PaymentState::Declined, "{error}");
            assert_eq!(payment.decline_code.as_deref(), Some(code), "{error}");
        }
        // A payment that was declined once and is authorised now is not declined.
        let again = json!({"status": "requires_capture", "last_payment_error": {"code": "a"}});
        assert_eq!(intent(&again).payment().unwrap().decline_code, None);
        let refused = json!({"status": "requires_payment_method", "metadata": {"refused": "gone"}});
        let refused = intent(&refused).payment().unwrap();
        assert_eq!(refused.state, PaymentState::Declined);
        assert_eq!(refused.decline_code.as_deref(), Some("gone"));
    }

    #[test]
    fn a_hold_lasts_as_long_as_the_charge_says() {
        let charge = json!({
            "id": "ch_1a", "amount": 2_430, "amount_refunded": 0, "refunded": false,
            "payment_method_details": {"type": "card", "card": {"capture_before": 1_793_534_400}},
        });
        let held = json!({"status": "requires_capture", "latest_charge": charge});
        let held = intent(&held).payment().unwrap();
        assert_eq!(held.expires_at, DateTime::from_timestamp(1_793_534_400, 0));
        assert_eq!(held.captured.to_string(), "0.00 GBP");
        // An id alone says nothing.
        let named = json!({"status": "requires_capture", "latest_charge": "ch_1a"});
        assert_eq!(intent(&named).payment().unwrap().expires_at, None);
        let taken = json!({
            "status": "succeeded", "amount_received": 600, "latest_charge": charge,
        });
        let taken = intent(&taken).payment().unwrap();
        assert_eq!((taken.captured.to_string().as_str(), taken.expires_at), ("6.00 GBP", None));
    }

    #[test]
    fn the_risk_is_stripes_word_or_what_its_own_review_means() {
        for (level, review, risk) in [
            (json!("normal"), json!(null), Some(RiskLevel::Normal)),
            (json!("elevated"), json!(null), Some(RiskLevel::Elevated)),
            (json!("highest"), json!("prv_1a"), Some(RiskLevel::Highest)),
            (json!("normal"), json!("prv_1a"), Some(RiskLevel::Elevated)),
            (json!("not_assessed"), json!(null), None),
            (json!(null), json!("prv_1a"), Some(RiskLevel::Elevated)),
        ] {
            let charge = json!({
                "amount": 2_430, "outcome": {"risk_level": level},
                "payment_method_details": {"card": {"country": "US"}},
            });
            let fields =
                json!({"status": "requires_capture", "latest_charge": charge, "review": review});
            let payment = intent(&fields).payment().unwrap();
            assert_eq!(payment.risk, risk, "{fields}");
            assert_eq!(payment.method_country, CountryCode::parse("US").ok());
        }
        let unknown = intent(&json!({"status": "requires_capture"})).payment().unwrap();
        assert_eq!((unknown.risk, unknown.method_country), (None, None));
    }

    #[test]
    fn no_more_can_be_given_back_than_is_left_of_the_charge() {
        let charged = |refunded: u64| {
            let charge = json!({"amount": 2_430, "amount_refunded": refunded});
            intent(&json!({"status": "succeeded", "latest_charge": charge}))
        };
        for (refunded, asked, is_too_much) in [
            (0, 2_430, false),
            (430, 2_430, true),
            (430, 2_001, true),
            (430, 2_000, false),
            (2_430, 600, false),
        ] {
            assert_eq!(charged(refunded).has_less_left_than(asked), is_too_much, "{refunded}");
        }
        let named = intent(&json!({"status": "succeeded", "latest_charge": "ch_1a"}));
        assert!(!named.has_less_left_than(600));
    }

    #[test]
    fn an_amount_that_is_none_is_nonsense() {
        for fields in [
            json!({"status": "succeeded", "currency": "xxx", "amount_received": 1}),
            json!({"status": "succeeded", "currency": "isk", "amount_received": 550}),
            json!({"status": "succeeded", "currency": "", "amount_received": 1}),
        ] {
            let error = intent(&fields).payment().unwrap_err();
            assert!(matches!(error, ProviderError::InvalidAnswer(_)), "{fields}");
        }
    }

    #[test]
    fn an_id_is_a_word_of_stripes() {
        for id in ["pi_1a", "pi_3MtwBwLkdIwHu7ix28a3tqPa"] {
            assert_eq!(intent_id(&PaymentId(id.to_owned())), Some(id));
        }
        for none in ["", "sandbox-payment-7", "pi_../../charges", "pi_1a?expand", "ch_1a"] {
            assert_eq!(intent_id(&PaymentId(none.to_owned())), None, "{none}");
        }
    }
}
