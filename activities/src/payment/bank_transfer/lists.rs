//! The lists of the bank transfer provider, for reconciliation. Its records are in the shop's own
//! database, and are compared with the orders' payments like those of any other provider. There are
//! no payouts: the money is already on the shop's account.

use async_trait::async_trait;
use domain::OrderId;
use domain::bank::CreditorReference;
use domain::refund::AtProvider;

use super::records::{self, Expected};
use super::{BankTransferProvider, failed, nonsense};
use crate::payment::lists::{
    ListedPayment, ListedRefund, Page, Payout, ProviderLists, Range, Settled, Standing,
};
use crate::payment::port::{PaymentId, ProviderError};

/// The number of items per page.
const PAGE_SIZE: usize = 100;

impl BankTransferProvider {
    fn listed(&self, expected: &Expected) -> ListedPayment {
        let Expected { reference, order_id, opened_at, amount, captured, refunded, .. } = expected;
        let standing =
            self.told(expected).map_or(Standing::Unreadable, |payment| Standing::Known {
                state: payment.state,
                amount: *amount,
                captured: *captured,
                refunded: *refunded,
            });
        ListedPayment {
            id: PaymentId(reference.to_string()),
            order_id: Some(OrderId::of(*order_id)),
            opened_at: *opened_at,
            standing,
        }
    }
}

/// A page of these items; a full page may be followed by another.
fn page<T>(items: Vec<T>, name: impl Fn(&T) -> String) -> Page<T> {
    let next = items.last().filter(|_last| items.len() >= PAGE_SIZE).map(name);
    Page { items, next }
}

#[async_trait]
impl ProviderLists for BankTransferProvider {
    async fn list_payments(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedPayment>, ProviderError> {
        let mut connection = self.db.acquire().await.map_err(failed)?;
        let after = after.unwrap_or_default();
        let opened = records::opened_in(&mut connection, range, after, PAGE_SIZE).await;
        let mut items = Vec::new();
        for name in opened.map_err(failed)? {
            let reference = CreditorReference::parse(&name);
            let reference = reference.ok_or_else(|| nonsense("a reference that is none"))?;
            let found = records::read(&mut connection, &reference).await.map_err(failed)?;
            items.extend(found.map(|expected| self.listed(&expected)));
        }
        Ok(page(items, |last| last.id.0.clone()))
    }

    async fn list_refunds(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedRefund>, ProviderError> {
        let after = after.map_or(Ok(0), str::parse);
        let after: i64 = after.map_err(|_wrong| nonsense("a page that is none"))?;
        let mut connection = self.db.acquire().await.map_err(failed)?;
        let made = records::refunds_in(&mut connection, range, after, PAGE_SIZE).await;
        let made = page(made.map_err(failed)?, |last| last.first_line.to_string());
        let items = made.items.into_iter().map(|refund| ListedRefund {
            id: records::name_of_refund(refund.first_line),
            payment: PaymentId(refund.payment),
            key: Some(refund.key),
            state: if refund.is_listed { AtProvider::Succeeded } else { AtProvider::Pending },
        });
        Ok(Page { items: items.collect(), next: made.next })
    }

    async fn list_payouts(
        &self,
        _range: Range,
        _after: Option<&str>,
    ) -> Result<Page<Payout>, ProviderError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn list_settled(
        &self,
        _payout: &str,
        _after: Option<&str>,
    ) -> Result<Page<Settled>, ProviderError> {
        Err(ProviderError::NotFound)
    }

    async fn find(&self, PaymentId(id): &PaymentId) -> Result<ListedPayment, ProviderError> {
        let reference = CreditorReference::parse(id).ok_or(ProviderError::NotFound)?;
        let mut connection = self.db.acquire().await.map_err(failed)?;
        let found = records::read(&mut connection, &reference).await.map_err(failed)?;
        Ok(self.listed(&found.ok_or(ProviderError::NotFound)?))
    }
}
