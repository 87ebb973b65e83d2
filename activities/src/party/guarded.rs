//! The provider and the carrier, each behind its circuit breaker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::dispute::DisputeFacts;
use domain::{Charge, Money, ProviderName};

use super::{Breaker, Capabilities, PartyError};
use crate::fault::Cause;
use crate::payment::lists::{
    ListedPayment, ListedRefund, Page, Payout, ProviderLists, Range, Settled,
};
use crate::payment::port::{
    EventPage, EventSource, FoundRefund, Payment, PaymentId, PaymentProvider, ProviderError, Refund,
};
use crate::shipping::port::{Booking, Carrier, CarrierError, Consignment, ShipmentId};

/// A party whose calls all pass a breaker.
///
/// **Errors.** The party's own; unavailable, with a retry delay, while the breaker refuses calls.
pub struct Guarded<P> {
    party: P,
    breaker: Arc<Breaker>,
}

impl<P> Guarded<P> {
    /// Puts the party behind this breaker.
    #[must_use]
    pub const fn new(party: P, breaker: Arc<Breaker>) -> Self {
        Self { party, breaker }
    }
}

#[async_trait]
impl<P: PaymentProvider> PaymentProvider for Guarded<P> {
    fn capabilities(&self) -> Capabilities {
        self.party.capabilities()
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        self.breaker.call(self.party.open(charge)).await
    }

    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.breaker.call(self.party.authorise(payment)).await
    }

    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        self.breaker.call(self.party.capture(payment, amount)).await
    }

    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.breaker.call(self.party.void(payment)).await
    }

    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        self.breaker.call(self.party.refund(payment, refund_key, amount)).await
    }

    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.breaker.call(self.party.look_up(payment)).await
    }

    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError> {
        self.breaker.call(self.party.look_up_refund(payment, refund_key)).await
    }

    async fn retrieve_dispute(&self, dispute_id: &str) -> Result<DisputeFacts, ProviderError> {
        self.breaker.call(self.party.retrieve_dispute(dispute_id)).await
    }

    fn lists(&self) -> &dyn ProviderLists {
        self
    }
}

#[async_trait]
impl<P: EventSource> EventSource for Guarded<P> {
    fn name(&self) -> ProviderName {
        self.party.name()
    }

    async fn find_refund(&self, reference: &str) -> Result<FoundRefund, ProviderError> {
        self.breaker.call(self.party.find_refund(reference)).await
    }

    async fn events(
        &self,
        since: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<EventPage, ProviderError> {
        self.breaker.call(self.party.events(since, page)).await
    }
}

#[async_trait]
impl<P: PaymentProvider> ProviderLists for Guarded<P> {
    async fn list_payments(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedPayment>, ProviderError> {
        self.breaker.call(self.party.lists().list_payments(range, after)).await
    }

    async fn list_refunds(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedRefund>, ProviderError> {
        self.breaker.call(self.party.lists().list_refunds(range, after)).await
    }

    async fn list_payouts(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<Payout>, ProviderError> {
        self.breaker.call(self.party.lists().list_payouts(range, after)).await
    }

    async fn list_settled(
        &self,
        payout: &str,
        after: Option<&str>,
    ) -> Result<Page<Settled>, ProviderError> {
        self.breaker.call(self.party.lists().list_settled(payout, after)).await
    }

    async fn find(&self, payment: &PaymentId) -> Result<ListedPayment, ProviderError> {
        self.breaker.call(self.party.lists().find(payment)).await
    }
}

#[async_trait]
impl<P: Carrier> Carrier for Guarded<P> {
    fn capabilities(&self) -> Capabilities {
        self.party.capabilities()
    }

    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError> {
        self.breaker.call(self.party.draft(booking)).await
    }

    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.breaker.call(self.party.purchase(shipment)).await
    }

    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.breaker.call(self.party.cancel(shipment)).await
    }

    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.breaker.call(self.party.look_up(shipment)).await
    }
}

impl PartyError for ProviderError {
    fn unavailable(retry_after: Option<Duration>, source: Cause) -> Self {
        Self::Unavailable { retry_after, source }
    }

    fn is_no_answer(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            // One payment for which the provider's answer is invalid must not block it for all
            // others.
            Self::MovedOn | Self::NotFound | Self::InvalidAnswer(_) => false,
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound)
    }
}

impl PartyError for CarrierError {
    fn unavailable(retry_after: Option<Duration>, source: Cause) -> Self {
        Self::Unavailable { retry_after, source }
    }

    fn is_no_answer(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Undeliverable { .. }
            | Self::MovedOn
            | Self::NotFound
            | Self::HasLeft
            | Self::InvalidAnswer(_) => false,
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use domain::{Party, PartyState};

    use super::*;
    use crate::party::{NotCalled, Standing};

    /// A carrier that always gives the same answer.
    struct Always(fn() -> CarrierError);

    #[async_trait]
    impl Carrier for Always {
        fn capabilities(&self) -> Capabilities {
            Capabilities { may_lag: Duration::ZERO, keys_last: None, cannot: &[] }
        }

        async fn draft(&self, _booking: &Booking) -> Result<ShipmentId, CarrierError> {
            Err(self.0())
        }

        async fn purchase(&self, _shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
            Err(self.0())
        }

        async fn cancel(&self, _shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
            Err(self.0())
        }

        async fn look_up(&self, _shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
            Err(self.0())
        }
    }

    /// Calls it twelve times; returns the last answer, and the carrier's state then.
    async fn called(answer: fn() -> CarrierError) -> (CarrierError, Standing) {
        let breaker = Arc::new(Breaker::new(Party::Carrier));
        let carrier = Guarded::new(Always(answer), Arc::clone(&breaker));
        let shipment = ShipmentId("shipment-7".to_owned());
        let mut last = carrier.cancel(&shipment).await.unwrap_err();
        for _ in 0..11 {
            last = carrier.cancel(&shipment).await.unwrap_err();
        }
        (last, breaker.standing())
    }

    #[tokio::test]
    async fn a_carrier_that_does_not_answer_is_left_alone_and_nothing_is_told_of_the_cause() {
        let silence = || CarrierError::Unavailable {
            retry_after: None,
            source: "17 High Street, London".into(),
        };
        let (last, standing) = called(silence).await;
        let CarrierError::Unavailable { retry_after: Some(_), source } = &last else {
            panic!("{last:?}")
        };
        assert_eq!(source.to_string(), NotCalled::LeftAlone.to_string());
        assert_eq!(standing.state, PartyState::LeftAlone);
        assert_eq!(standing.last_failure.as_deref(), Some("the carrier does not answer"));
    }

    #[tokio::test]
    async fn a_carrier_that_refuses_or_answers_with_nonsense_has_answered() {
        let answers: [fn() -> CarrierError; 5] = [
            || CarrierError::Undeliverable { why: "no ship sails there".to_owned() },
            || CarrierError::MovedOn,
            || CarrierError::NotFound,
            || CarrierError::HasLeft,
            || CarrierError::InvalidAnswer("<html>It works!</html>".into()),
        ];
        for answer in answers {
            let (_, standing) = called(answer).await;
            assert_eq!(standing.state, PartyState::Answering);
            assert_eq!(standing.last_failure, None);
        }
    }
}
