//! Stripe as the payment provider, with the shop's own account.
//!
//! A payment is a `PaymentIntent` with manual capture. Creating it without confirming it moves no
//! money; its id is stored, and from then on every request names it. Only cards are accepted: their
//! outcome is known at once, or after the cardholder's approval within minutes.
//!
//! # Idempotency keys
//!
//! Each request has an idempotency key derived from the order's own, so that a request that arrives
//! late, or twice, takes effect once. Stripe keeps its first answer under a key for a day, even for
//! its own failures (5xx). So a replayed answer describes the past, not the present:
//!
//! - About a payment, its current state is looked up, and decides. If it has not changed, the
//!   request is sent again under the next key (`…-2`, `…-3`). That takes effect at most once,
//!   because the effect of a request depends on the payment's state alone.
//! - About a refund, the payment's refunds are listed, and decide. A refund carries the shop's key
//!   in its metadata. A failed one is followed by another under the next key.
//!
//! After a day, a key is forgotten: the state decides then as well.
//!
//! # Disputes
//!
//! A dispute is read in its current state, whatever event reported it: its status, and the balance
//! transactions made so far. A negative one has withdrawn the money, a positive one has reinstated
//! it, and each contains the fee that Stripe charges or returns. If Stripe pays out in another
//! currency, the fee is in that currency, and the disputed amount counts as withdrawn: the exchange
//! rate's effect is part of the payout.
//!
//! # The customer's approval
//!
//! With a [return URL](StripeSettings::return_url), a bank that requires the customer's approval
//! returns a link, and the order waits for the customer. Without one, the bank is told that the
//! customer is not present, and declines with `authentication_required`.

mod client;
mod lists;
mod objects;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::dispute::DisputeFacts;
use domain::payment::PaymentState;
use domain::{Charge, Money, ProviderName, Subject, to_stripe_units};

use self::client::{Api, Field, Reply, is_safe};
pub use self::client::{ApiKey, Mode, StripeSettings, UnusableSettings};
#[cfg(fuzzing)]
pub(crate) use self::objects::fuzzing;
use self::objects::{
    Dispute, Events, Intent, Refund, Refunding, Refunds, dispute_id, intent_id, nonsense,
    refund_id, undecided,
};
use super::lists::ProviderLists;
use super::port::{
    self, Capabilities, EventPage, EventSource, FoundRefund, Payment, PaymentId, PaymentProvider,
    ProviderError,
};
use crate::party::answer::Said;

/// The most keys under which a request is sent while each only returns a replayed answer.
const KEYS_MAX: u32 = 5;

/// More refunds of one payment than a working provider can have.
const REFUNDS_MAX: &str = "40";

/// The number of events per page: Stripe's maximum.
const EVENTS_PER_PAGE: &str = "100";

/// The URL of Stripe's API.
pub const STRIPE_API_URL: &str = "https://api.stripe.com";

/// Stripe, with one account.
pub struct StripeProvider {
    api: Api,
    return_url: Option<String>,
}

/// A request about an existing payment.
struct Action {
    name: &'static str,
    form: Vec<Field>,
    /// The states that allow the request.
    from: &'static [PaymentState],
    /// The states that it may lead to.
    to: &'static [PaymentState],
}

/// The result of opening a payment.
enum Opened {
    Payment(PaymentId),
    /// Stripe refuses the payment method, for this reason.
    MethodRefused(String),
}

/// What an answer says about a payment.
enum Told {
    /// Its current state.
    Is(Box<Intent>),
    /// Only its state at an earlier request.
    Was,
    /// Why nothing was done. The payment's current state may explain it.
    Refused(ProviderError),
}

impl StripeProvider {
    /// Makes no call yet.
    ///
    /// **Errors.** [`UnusableSettings`].
    pub fn new(settings: &StripeSettings) -> Result<Self, UnusableSettings> {
        let return_url = settings.return_url.as_ref();
        if let Some(url) = return_url.filter(|url| !is_safe(url)) {
            return Err(UnusableSettings::NotSafe(url.clone()));
        }
        let return_url = return_url.map(|url| url.as_str().to_owned());
        Ok(Self { api: Api::new(settings)?, return_url })
    }

    /// Creates a payment. If the answer under a key is a replayed failure, the next key is used; a
    /// payment that is thereby created twice is never used.
    async fn create(&self, key: &str, form: &[Field]) -> Result<Opened, ProviderError> {
        for number in 1..=KEYS_MAX {
            let reply = self.api.post(&["payment_intents"], &numbered(key, number), form).await?;
            if reply.is_kept_failure() {
                continue;
            }
            match reply.read::<Intent>()? {
                Said::Yes(intent) => return Ok(Opened::Payment(intent.id()?)),
                Said::No { why, .. } if why.error.is_of_other_parameters() => {}
                Said::No { status: 400 | 402 | 404, why } if why.error.is_about_the_method() => {
                    return Ok(Opened::MethodRefused(why.error.decline_code().to_owned()));
                }
                Said::No { why, .. } => return Err(reply.refused(&why.error)),
            }
        }
        Err(no_key_left())
    }

    /// Opens a payment without a method, so that the order gets the decline's reason.
    async fn open_declined(
        &self,
        key: &str,
        mut form: Vec<Field>,
        why: &str,
    ) -> Result<PaymentId, ProviderError> {
        form.push(("metadata[refused]", why.to_owned()));
        match self.create(&format!("{key}:refused"), &form).await? {
            Opened::Payment(id) => Ok(id),
            Opened::MethodRefused(_) => Err(nonsense("a method is refused that was not given")),
        }
    }

    /// Sends a request about a payment, and returns the payment's state afterwards.
    async fn ask(&self, payment: &PaymentId, action: &Action) -> Result<Payment, ProviderError> {
        let id = intent_id(payment).ok_or(ProviderError::NotFound)?;
        for number in 1..=KEYS_MAX {
            let key = numbered(&format!("{id}:{}", action.name), number);
            let path = ["payment_intents", id, action.name];
            let reply = self.api.post(&path, &key, &action.form).await?;
            let refused = match self.told(id, &reply).await? {
                Told::Is(intent) => return action.made(intent.payment()?),
                Told::Was => None,
                Told::Refused(error) => Some(error),
            };
            let found = self.found(id).await?;
            match refused {
                _ if action.to.contains(&found.state) => return Ok(found),
                Some(error) => return Err(error),
                None if action.from.contains(&found.state) => {}
                None => return Err(ProviderError::MovedOn),
            }
        }
        Err(no_key_left())
    }

    /// Interprets an answer about the payment.
    ///
    /// **Errors.** The answer says nothing about it.
    async fn told(&self, id: &str, reply: &Reply) -> Result<Told, ProviderError> {
        if reply.is_replayed {
            return Ok(Told::Was);
        }
        match reply.read::<Intent>()? {
            Said::Yes(intent) => Ok(Told::Is(Box::new(intent))),
            Said::No { why, .. } if why.error.is_of_other_parameters() => Ok(Told::Was),
            // The bank declined.
            Said::No { status: 402, why } => Ok(Told::Is(match why.error.payment_intent {
                Some(intent) => intent,
                None => Box::new(self.retrieve(id).await?),
            })),
            Said::No { why, .. } => match reply.refused(&why.error) {
                error @ (ProviderError::MovedOn | ProviderError::InvalidAnswer(_)) => {
                    Ok(Told::Refused(error))
                }
                error @ (ProviderError::NotFound | ProviderError::Unavailable { .. }) => Err(error),
            },
        }
    }

    async fn retrieve(&self, id: &str) -> Result<Intent, ProviderError> {
        let reply =
            self.api.get(&["payment_intents", id], &[("expand[]", "latest_charge")]).await?;
        match reply.read::<Intent>()? {
            Said::Yes(intent) => Ok(intent),
            Said::No { why, .. } => Err(reply.refused(&why.error)),
        }
    }

    /// The current state of a payment.
    async fn found(&self, id: &str) -> Result<Payment, ProviderError> {
        let intent = self.retrieve(id).await?;
        let mut payment = intent.payment()?;
        if intent.may_be_given_back() && intent.is_given_back(&self.refunds(id).await?) {
            payment.state = PaymentState::Refunded;
        }
        Ok(payment)
    }

    /// All refunds of a payment.
    async fn refunds(&self, id: &str) -> Result<Vec<Refund>, ProviderError> {
        let query = [("payment_intent", id), ("limit", REFUNDS_MAX)];
        let reply = self.api.get(&["refunds"], &query).await?;
        match reply.read::<Refunds>()? {
            Said::Yes(Refunds { has_more: true, .. }) => {
                Err(nonsense("more refunds of one payment than are read"))
            }
            Said::Yes(Refunds { data, .. }) => Ok(data),
            Said::No { why, .. } => Err(reply.refused(&why.error)),
        }
    }

    /// Requests a refund under one key; `None` if the answer was replayed.
    async fn refund_once(
        &self,
        id: &str,
        key: &str,
        form: &[Field],
    ) -> Result<Option<Payment>, ProviderError> {
        let reply = self.api.post(&["refunds"], key, form).await?;
        if reply.is_replayed {
            return Ok(None);
        }
        match reply.read::<Refund>()? {
            Said::Yes(refund) => match refund.outcome() {
                Refunding::Done => self.found(id).await.map(Some),
                Refunding::Undecided => Err(undecided("the refund is pending")),
                // Another refund is requested, but not at once.
                Refunding::Failed => Err(undecided("the refund has failed")),
            },
            Said::No { why, .. } if why.error.is_of_other_parameters() => Ok(None),
            Said::No { why, .. } if why.error.code() == "charge_already_refunded" => {
                self.found(id).await.map(Some)
            }
            Said::No { why, .. } => Err(reply.refused(&why.error)),
        }
    }
}

impl Action {
    /// The payment, if its state is one that the request may lead to.
    fn made(&self, payment: Payment) -> Result<Payment, ProviderError> {
        if self.to.contains(&payment.state) {
            Ok(payment)
        } else {
            Err(nonsense("a payment in a state that was not asked for"))
        }
    }
}

#[async_trait]
impl PaymentProvider for StripeProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            may_lag: Duration::from_secs(5),
            keys_last: Some(Duration::from_hours(24)),
            cannot: &[],
        }
    }

    /// If Stripe refuses the payment method, the payment is opened without a method and counts as
    /// declined, with the reason.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        let (key, mut form) = (charge.key.to_string(), opening(charge)?);
        let Some((customer, method)) = method_of(charge.payment_token.as_str()) else {
            return self.open_declined(&key, form, "no_payment_method_of_stripe").await;
        };
        let without_method = form.clone();
        form.push(("payment_method", method.to_owned()));
        form.extend(customer.map(|customer| ("customer", customer.to_owned())));
        match self.create(&key, &form).await? {
            Opened::Payment(id) => Ok(id),
            Opened::MethodRefused(why) => self.open_declined(&key, without_method, &why).await,
        }
    }

    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        let customer = match &self.return_url {
            Some(url) => ("return_url", url.clone()),
            None => ("off_session", "true".to_owned()),
        };
        let action = Action {
            name: "confirm",
            form: vec![whole_charge(), customer],
            from: &[PaymentState::Opened],
            to: &[PaymentState::Authorised, PaymentState::AwaitingCustomer, PaymentState::Declined],
        };
        self.ask(payment, &action).await
    }

    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        let action = Action {
            name: "capture",
            form: vec![whole_charge(), ("amount_to_capture", units(amount)?.to_string())],
            from: &[PaymentState::Authorised],
            to: &[PaymentState::Captured],
        };
        self.ask(payment, &action).await
    }

    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        let action = Action {
            name: "cancel",
            form: vec![whole_charge()],
            from: &[
                PaymentState::Opened,
                PaymentState::AwaitingCustomer,
                PaymentState::Declined,
                PaymentState::Authorised,
            ],
            to: &[PaymentState::Voided],
        };
        self.ask(payment, &action).await
    }

    /// A refund made by a person in Stripe's Dashboard is not repeated, and the refunded amount is
    /// always the requested one.
    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        let id = intent_id(payment).ok_or(ProviderError::NotFound)?;
        let intent = self.retrieve(id).await?;
        if intent.payment()?.state != PaymentState::Captured {
            return Err(ProviderError::MovedOn);
        }
        let amount = units(amount)?;
        let form = vec![
            ("payment_intent", id.to_owned()),
            ("amount", amount.to_string()),
            ("metadata[refund_key]", refund_key.to_owned()),
        ];
        let mut refunds = self.refunds(id).await?;
        let failed = of_key(&refunds, refund_key, Refunding::Failed);
        for number in (1..=KEYS_MAX).map(|number| failed.saturating_add(number)) {
            let may_be_of_others = intent.may_be_given_back() && refunds.iter().any(is_undecided);
            if may_be_of_others || of_key(&refunds, refund_key, Refunding::Undecided) > 0 {
                return Err(undecided("the refund is pending"));
            }
            let is_given_back = intent.is_given_back(&refunds);
            if is_given_back || of_key(&refunds, refund_key, Refunding::Done) > 0 {
                return self.found(id).await;
            }
            if intent.has_less_left_than(amount) {
                return Err(ProviderError::MovedOn);
            }
            let key = numbered(refund_key, number);
            if let Some(payment) = self.refund_once(id, &key, &form).await? {
                return Ok(payment);
            }
            refunds = self.refunds(id).await?;
        }
        Err(no_key_left())
    }

    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.found(intent_id(payment).ok_or(ProviderError::NotFound)?).await
    }

    /// Stripe lists the newest first.
    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<port::Refund>, ProviderError> {
        let id = intent_id(payment).ok_or(ProviderError::NotFound)?;
        let refunds = self.refunds(id).await?;
        let newest = refunds.iter().find(|refund| refund.is_of(refund_key));
        newest.map(Refund::as_known).transpose()
    }

    fn lists(&self) -> &dyn ProviderLists {
        self
    }

    async fn retrieve_dispute(&self, id: &str) -> Result<DisputeFacts, ProviderError> {
        let id = dispute_id(id).ok_or(ProviderError::NotFound)?;
        let reply = self.api.get(&["disputes", id], &[]).await?;
        match reply.read::<Dispute>()? {
            Said::Yes(dispute) if dispute.id == id => dispute.facts(),
            Said::Yes(_) => Err(nonsense("another dispute")),
            Said::No { why, .. } => Err(reply.refused(&why.error)),
        }
    }
}

#[async_trait]
impl EventSource for StripeProvider {
    fn name(&self) -> ProviderName {
        ProviderName::Stripe
    }

    async fn find_refund(&self, reference: &str) -> Result<FoundRefund, ProviderError> {
        let id = refund_id(reference).ok_or(ProviderError::NotFound)?;
        let reply = self.api.get(&["refunds", id], &[]).await?;
        match reply.read::<Refund>()? {
            Said::Yes(refund) => refund.found(),
            Said::No { why, .. } => Err(reply.refused(&why.error)),
        }
    }

    async fn events(
        &self,
        since: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<EventPage, ProviderError> {
        let since = since.timestamp().to_string();
        let mut query = vec![("created[gte]", since.as_str()), ("limit", EVENTS_PER_PAGE)];
        query.extend(Subject::EVENT_TYPES.map(|event_type| ("types[]", event_type)));
        query.extend(page.map(|last| ("starting_after", last)));
        let reply = self.api.get_page(&["events"], &query).await?;
        match reply.read::<Events>()? {
            Said::Yes(events) => events.page(),
            // This counts as an answer: a key without permission to read events must not open the
            // circuit breaker for a provider that still accepts payments.
            Said::No { why, .. } => Err(match reply.refused(&why.error) {
                ProviderError::Unavailable { source, .. } => ProviderError::InvalidAnswer(source),
                error @ (ProviderError::MovedOn
                | ProviderError::NotFound
                | ProviderError::InvalidAnswer(_)) => error,
            }),
        }
    }
}

/// The parameters with which a payment is opened, except how it is paid.
fn opening(charge: &Charge) -> Result<Vec<Field>, ProviderError> {
    let currency = charge.amount.currency().code().to_ascii_lowercase();
    Ok(vec![
        ("amount", units(charge.amount)?.to_string()),
        ("currency", currency),
        ("capture_method", "manual".to_owned()),
        // Other methods may take days, or redirect the customer.
        ("payment_method_types[]", "card".to_owned()),
        ("metadata[order_id]", charge.key.order_id.to_string()),
        ("metadata[key]", charge.key.to_string()),
    ])
}

/// The payment method of a token, and the Stripe customer who has saved it.
fn method_of(token: &str) -> Option<(Option<&str>, &str)> {
    let (customer, method) = match token.split_once('/') {
        Some((customer, method)) => (Some(customer), method),
        None => (None, token),
    };
    method.starts_with("pm_").then_some((customer, method))
}

/// Requests the expanded charge, which says how long the authorisation lasts.
fn whole_charge() -> Field {
    ("expand[]", "latest_charge".to_owned())
}

fn units(amount: Money) -> Result<u64, ProviderError> {
    to_stripe_units(amount).map_err(|refused| ProviderError::InvalidAnswer(refused.into()))
}

/// The first key is unchanged; each further one has its number appended.
fn numbered(key: &str, number: u32) -> String {
    if number == 1 { key.to_owned() } else { format!("{key}-{number}") }
}

fn no_key_left() -> ProviderError {
    undecided("Stripe only repeats what it once answered; in a day it has forgotten that")
}

fn is_undecided(refund: &Refund) -> bool {
    refund.outcome() == Refunding::Undecided
}

/// The number of refunds under this key with this outcome.
fn of_key(refunds: &[Refund], refund_key: &str, outcome: Refunding) -> u32 {
    let of_key = refunds.iter().filter(|refund| refund.is_of(refund_key));
    let number = of_key.filter(|refund| refund.outcome() == outcome).count();
    u32::try_from(number).unwrap_or(u32::MAX)
}
