//! Data loaders: batch related data of several orders into one database query per kind.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::Error;
use async_graphql::dataloader::Loader;
use domain::OrderId;

use crate::app::App;
use crate::app::orders::store::grouped::ByOrder;
use crate::app::orders::store::refunds;
use crate::app::orders::store::related;
use crate::error::Problem;
use crate::graphql::error::graphql_error;
use crate::graphql::types::{GraphEntry, GraphEvent, GraphPayment, GraphRefund, GraphShipment};

/// The loader of one GraphQL query.
pub(crate) struct Reader(pub(crate) Arc<App>);

/// The events of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventsOf(pub(crate) OrderId);

/// The payments of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PaymentsOf(pub(crate) OrderId);

/// The refunds of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RefundsOf(pub(crate) OrderId);

/// The parcels of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ShipmentsOf(pub(crate) OrderId);

/// The ledger entries of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LedgerOf(pub(crate) OrderId);

/// Groups rows by their key, converted to GraphQL's types.
fn by_key<K: Hash + Eq, R, G: From<R>>(
    read: Result<ByOrder<R>, Problem>,
    key: impl Fn(OrderId) -> K,
) -> Result<HashMap<K, Vec<G>>, Error> {
    let read = read.map_err(|problem| graphql_error(&problem))?;
    let keyed =
        read.into_iter().map(|(order, all)| (key(order), all.into_iter().map(G::from).collect()));
    Ok(keyed.collect())
}

impl Loader<EventsOf> for Reader {
    type Value = Vec<GraphEvent>;
    type Error = Error;

    async fn load(&self, keys: &[EventsOf]) -> Result<HashMap<EventsOf, Self::Value>, Error> {
        let orders: Vec<_> = keys.iter().map(|key| key.0).collect();
        by_key(related::events(&self.0.database, &orders).await, EventsOf)
    }
}

impl Loader<PaymentsOf> for Reader {
    type Value = Vec<GraphPayment>;
    type Error = Error;

    async fn load(&self, keys: &[PaymentsOf]) -> Result<HashMap<PaymentsOf, Self::Value>, Error> {
        let orders: Vec<_> = keys.iter().map(|key| key.0).collect();
        by_key(related::payments(&self.0.database, &orders).await, PaymentsOf)
    }
}

impl Loader<RefundsOf> for Reader {
    type Value = Vec<GraphRefund>;
    type Error = Error;

    async fn load(&self, keys: &[RefundsOf]) -> Result<HashMap<RefundsOf, Self::Value>, Error> {
        let orders: Vec<_> = keys.iter().map(|key| key.0).collect();
        by_key(refunds::of_each(&self.0.database, &orders).await, RefundsOf)
    }
}

impl Loader<ShipmentsOf> for Reader {
    type Value = Vec<GraphShipment>;
    type Error = Error;

    async fn load(&self, keys: &[ShipmentsOf]) -> Result<HashMap<ShipmentsOf, Self::Value>, Error> {
        let orders: Vec<_> = keys.iter().map(|key| key.0).collect();
        by_key(related::shipments(&self.0.database, &orders).await, ShipmentsOf)
    }
}

impl Loader<LedgerOf> for Reader {
    type Value = Vec<GraphEntry>;
    type Error = Error;

    async fn load(&self, keys: &[LedgerOf]) -> Result<HashMap<LedgerOf, Self::Value>, Error> {
        let orders: Vec<_> = keys.iter().map(|key| key.0).collect();
        by_key(related::ledger_entries(&self.0.database, &orders).await, LedgerOf)
    }
}
