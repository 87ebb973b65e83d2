//! Stripe's lists, newest first, a hundred items per page.
//!
//! Items created while a list is read come before its first page, so a page neither repeats nor
//! skips anything.

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::StripeProvider;
use super::objects::{
    BalanceTransaction, Intent, List, Payout, Refund, intent_id, is_word, nonsense,
};
use crate::party::answer::Said;
use crate::payment::lists::{
    self, ListedPayment, ListedRefund, Page, ProviderLists, Range, Settled,
};
use crate::payment::port::{PaymentId, ProviderError};

/// Stripe's maximum.
const PAGE_SIZE: &str = "100";

impl StripeProvider {
    async fn page<T: DeserializeOwned>(
        &self,
        list: &str,
        query: &[(&str, &str)],
        after: Option<&str>,
    ) -> Result<List<T>, ProviderError> {
        let mut query = query.to_vec();
        query.push(("limit", PAGE_SIZE));
        query.extend(after.map(|after| ("starting_after", after)));
        let reply = self.api.get_page(&[list], &query).await?;
        match reply.read::<List<T>>()? {
            Said::Yes(page) => Ok(page),
            Said::No { why, .. } => Err(reply.refused(&why.error)),
        }
    }

    /// A page of the objects created within a range.
    async fn page_of_range<T: DeserializeOwned>(
        &self,
        list: &str,
        Range { from, to }: Range,
        expand: Option<&str>,
        after: Option<&str>,
    ) -> Result<List<T>, ProviderError> {
        let (from, to) = (from.timestamp().to_string(), to.timestamp().to_string());
        let mut query = vec![("created[gte]", from.as_str()), ("created[lt]", to.as_str())];
        query.extend(expand.map(|field| ("expand[]", field)));
        self.page(list, &query, after).await
    }
}

/// The cursor of the next page: the last id of this one.
///
/// **Errors.** There is a next page, but this one has no id that leads to it.
fn next(
    has_more: bool,
    last: Option<&str>,
    after: Option<&str>,
) -> Result<Option<String>, ProviderError> {
    if !has_more {
        return Ok(None);
    }
    match last.filter(|last| Some(*last) != after) {
        Some(last) => Ok(Some(last.to_owned())),
        None => Err(nonsense("a page that leads nowhere")),
    }
}

#[async_trait]
impl ProviderLists for StripeProvider {
    async fn list_payments(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedPayment>, ProviderError> {
        let expand = Some("data.latest_charge");
        let List { data, has_more } =
            self.page_of_range::<Intent>("payment_intents", range, expand, after).await?;
        let items = data.iter().map(Intent::listed).collect::<Result<Vec<_>, _>>()?;
        let last = items.last().map(|payment| payment.id.0.as_str());
        Ok(Page { next: next(has_more, last, after)?, items })
    }

    /// Refunds of charges without a `PaymentIntent` are not the shop's.
    async fn list_refunds(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedRefund>, ProviderError> {
        let List { data, has_more } =
            self.page_of_range::<Refund>("refunds", range, None, after).await?;
        let next = next(has_more, data.last().map(Refund::id), after)?;
        let items = data.into_iter().map(Refund::listed).filter_map(Result::transpose);
        Ok(Page { items: items.collect::<Result<_, _>>()?, next })
    }

    async fn list_payouts(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<lists::Payout>, ProviderError> {
        let List { data, has_more } =
            self.page_of_range::<Payout>("payouts", range, None, after).await?;
        let next = next(has_more, data.last().map(Payout::id), after)?;
        let items = data.into_iter().map(Payout::listed).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    async fn list_settled(
        &self,
        payout: &str,
        after: Option<&str>,
    ) -> Result<Page<Settled>, ProviderError> {
        if !is_word(payout, "po_") {
            return Err(ProviderError::NotFound);
        }
        let query = [("payout", payout), ("expand[]", "data.source")];
        let List { data, has_more } =
            self.page::<BalanceTransaction>("balance_transactions", &query, after).await?;
        let next = next(has_more, data.last().map(BalanceTransaction::id), after)?;
        let items = data.into_iter().map(BalanceTransaction::listed).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    async fn find(&self, payment: &PaymentId) -> Result<ListedPayment, ProviderError> {
        let id = intent_id(payment).ok_or(ProviderError::NotFound)?;
        self.retrieve(id).await?.listed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_another_or_is_the_last() {
        assert_eq!(next(false, Some("pi_2"), Some("pi_1")).unwrap(), None);
        assert_eq!(next(false, None, None).unwrap(), None);
        assert_eq!(next(true, Some("pi_2"), Some("pi_1")).unwrap().as_deref(), Some("pi_2"));
        for (last, after) in [(None, None), (None, Some("pi_1")), (Some("pi_1"), Some("pi_1"))] {
            let nowhere = next(true, last, after).unwrap_err();
            assert!(matches!(nowhere, ProviderError::InvalidAnswer(_)), "{nowhere:?}");
        }
    }
}
