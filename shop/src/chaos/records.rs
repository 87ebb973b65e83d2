//! Reads Postgres' and Temporal's records directly, without Ordersaga's own programs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::OrderId;
use futures::TryStreamExt;
use runtime::temporal::Temporal;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowHandle,
    WorkflowListOptions,
};
use uuid::Uuid;

/// Why the records cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordsError {
    /// Postgres does not answer.
    #[error("Postgres does not answer")]
    Postgres(#[from] sqlx::Error),
    /// A row has an unexpected form.
    #[error("the records cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// Temporal does not answer.
    #[error("Temporal does not answer: {0}")]
    Temporal(String),
}

/// The records.
pub(super) struct Records {
    postgres: PgPool,
    temporal: Client,
}

/// Where the pieces of an article are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Stock {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) sold: i64,
}

/// The state of an order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Standing {
    pub(super) status: String,
    pub(super) payment_status: String,
    /// Whether a person has to decide.
    pub(super) needs_attention: bool,
    /// How many questions a person has been asked.
    pub(super) attentions: u32,
    /// The number of its events.
    pub(super) version: u32,
}

/// A received transfer of a customer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Received {
    /// The remittance text.
    pub(super) text: String,
    pub(super) amount: Decimal,
    /// The amount returned because it was too much.
    pub(super) given_back: Decimal,
    /// The number of transactions that book it.
    pub(super) bookings: u32,
}

/// An event of an order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Happened {
    pub(super) order_id: Uuid,
    /// Its type, such as `stock.reserved`.
    pub(super) event: String,
    pub(super) at: DateTime<Utc>,
}

impl Happened {
    /// Whether it is the order's last event.
    pub(super) fn is_end(&self) -> bool {
        let ends = ["order.completed", "order.cancelled", "order.rejected", "order.failed"];
        ends.contains(&self.event.as_str())
    }
}

impl Standing {
    pub(super) fn is_open(&self) -> bool {
        self.status == "processing"
    }
}

impl Records {
    /// Connects to both.
    pub(super) async fn at(database_url: &str) -> Result<Self, RecordsError> {
        let told = |error: &dyn std::fmt::Display| RecordsError::Temporal(error.to_string());
        // Connects like worker and starter: to all frontends of a cluster.
        let temporal = Temporal::from_env("ordersaga-chaos").map_err(|error| told(&error))?;
        let temporal = Box::pin(temporal.connect()).await;
        Ok(Self {
            postgres: PgPoolOptions::new().max_connections(2).connect(database_url).await?,
            temporal: temporal.map_err(|error| told(&error))?,
        })
    }

    /// The status of every order.
    pub(super) async fn statuses(&self) -> Result<BTreeMap<Uuid, String>, RecordsError> {
        self.read("select coalesce(jsonb_object_agg(order_id, status), '{}') from orders.orders")
            .await
    }

    /// The state of every order.
    pub(super) async fn standings(&self) -> Result<BTreeMap<Uuid, Standing>, RecordsError> {
        self.read(
            "select coalesce(jsonb_object_agg(order_id, jsonb_build_object(
                'status', status, 'payment_status', payment_status,
                'needs_attention', attention is not null, 'attentions', attentions,
                'version', version
            )), '{}') from orders.orders",
        )
        .await
    }

    /// The shipping time of each shipped order.
    pub(super) async fn shipped(&self) -> Result<BTreeMap<Uuid, DateTime<Utc>>, RecordsError> {
        self.read(
            "select coalesce(jsonb_object_agg(order_id, occurred_at), '{}')
             from orders.order_events where type = 'order.shipped'",
        )
        .await
    }

    /// The events of all orders, in order.
    pub(super) async fn events(&self) -> Result<Vec<Happened>, RecordsError> {
        self.read(
            "select coalesce(jsonb_agg(
                jsonb_build_object('order_id', order_id, 'event', type, 'at', occurred_at)
                order by occurred_at, event_id
            ), '[]') from orders.order_events",
        )
        .await
    }

    /// The number of undelivered messages of each sink of the relay, including parked ones.
    pub(super) async fn left_to_tell(&self) -> Result<BTreeMap<String, u64>, RecordsError> {
        self.read(
            "select coalesce(jsonb_object_agg(sink, waiting + refused + retried + behind), '{}')
             from outbox.standings()",
        )
        .await
    }

    /// The customers' transfers received so far.
    pub(super) async fn transfers(&self) -> Result<Vec<Received>, RecordsError> {
        self.read(
            "select coalesce(jsonb_agg(jsonb_build_object(
                'text', remittance, 'amount', amount::text, 'given_back', given_back::text,
                'bookings', (
                    select count(*) from ledger.transactions where key = 'bank-entry:' || entry_id
                )
            )), '[]') from bank.entries where is_credit",
        )
        .await
    }

    /// Where the pieces of an article are.
    pub(super) async fn stock(&self, sku: &str) -> Result<Stock, RecordsError> {
        let stock = sqlx::query_scalar::<_, Value>(
            "select to_jsonb(stock) from inventory.stock where sku = $1",
        );
        Ok(serde_json::from_value(stock.bind(sku).fetch_one(&self.postgres).await?)?)
    }

    /// Every order's workflow, and whether it is open. Visibility lags a little.
    pub(super) async fn workflows(&self) -> Result<BTreeMap<Uuid, bool>, RecordsError> {
        let all = self
            .temporal
            .list_workflows("WorkflowType='OrderSaga'", WorkflowListOptions::default())
            .map_err(|error| RecordsError::Temporal(error.to_string()));
        all.try_filter_map(async |workflow| {
            let order = OrderId::of_workflow(workflow.id()).map(OrderId::uuid);
            let open = workflow.status() == WorkflowExecutionStatus::Running;
            Ok(order.map(|order| (order, open)))
        })
        .try_collect()
        .await
    }

    /// The number of events in an order's history, and its size in bytes.
    pub(super) async fn footprint(&self, order: Uuid) -> Result<(u64, u64), RecordsError> {
        let workflow: WorkflowHandle<Client, UntypedWorkflow> =
            self.temporal.get_workflow_handle(OrderId::of(order).workflow_id());
        let told = Box::pin(workflow.describe(WorkflowDescribeOptions::default())).await;
        let told = told.map_err(|error| RecordsError::Temporal(error.to_string()))?;
        let info = told.raw().workflow_execution_info.as_ref();
        let count = |counted: i64| u64::try_from(counted).unwrap_or_default();
        Ok(info.map_or((0, 0), |info| (count(info.history_length), count(info.history_size_bytes))))
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        query: &'static str,
    ) -> Result<T, RecordsError> {
        let read = sqlx::query_scalar::<_, Value>(query).fetch_one(&self.postgres).await?;
        Ok(serde_json::from_value(read)?)
    }
}
