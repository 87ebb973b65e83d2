//! A refund in a test: requested and launched like by the starter.

use domain::event::{OrderEvent, RefundRequested};
use domain::refund::{Ask, Left, Parts, RefundId, RefundState};
use domain::{Money, Order};
use temporalio_client::{Client, WorkflowGetResultOptions, WorkflowHandle, WorkflowStartOptions};
use temporalio_sdk::workflows::WorkflowImplementation;
use workflows::Queue;
use workflows::refund::{RefundSaga, RefundStart, search_attributes_at_start};

use super::Shop;

/// The handle of a refund's workflow.
pub type RefundHandle = WorkflowHandle<Client, <RefundSaga as WorkflowImplementation>::Run>;

/// Records the first refund of a completed order, of this percentage of the payment.
pub async fn asks_back(shop: &Shop, order: &Order, percent: u32) -> RefundId {
    let amount = order.totals.total.percent(percent.into()).unwrap();
    let left = Left::of(&order.lines, &order.totals, &[]).unwrap();
    let parts = left.parts_of(&Ask::Amount(amount)).unwrap();
    let Parts { goods, goods_tax, shipping, shipping_tax } = parts;
    let event = OrderEvent::RefundRequested(RefundRequested {
        number: 1,
        amount,
        lines: vec![],
        reason: "arrived broken".to_owned(),
        requested_by: "Ada".to_owned(),
    });
    let amounts = [goods, goods_tax, shipping, shipping_tax].map(Money::amount).to_vec();
    let outcome = sqlx::query_scalar!(
        r#"select outcome as "outcome!"
           from payments.request_refund($1, 1, 0, 'a request', 'v1:', $2, $3)"#,
        order.order_id.uuid(),
        &amounts,
        event.data().unwrap(),
    );
    assert_eq!(outcome.fetch_one(&shop.db).await.unwrap(), "requested");
    RefundId { order_id: order.order_id, number: 1 }
}

/// Starts a refund's workflow.
pub async fn launch_refund(shop: &Shop, refund: RefundId) -> RefundHandle {
    let options = WorkflowStartOptions::new(Queue::Orders.name(), refund.workflow_id())
        .search_attributes(search_attributes_at_start())
        .build();
    let start = RefundStart { refund, record_version: 1 };
    let handle = shop.client.start_workflow(RefundSaga::run, start, options).await.unwrap();
    sqlx::query!("delete from orders.refund_launches where order_id = $1", refund.order_id.uuid(),)
        .execute(&shop.db)
        .await
        .unwrap();
    handle
}

/// How a refund ended.
pub async fn refund_ended(handle: &RefundHandle) -> RefundState {
    let outcome = handle.get_result(WorkflowGetResultOptions::default()).await.unwrap();
    outcome.state.unwrap()
}

/// The provider accepts the order's next refund, and decides it later.
pub async fn provider_takes_its_time(shop: &Shop, order: &Order) {
    sqlx::query!(
        "insert into sandbox_provider.behaviours (call, whom, behaviour, remaining)
         values ('refund', $1, 'pending', 1)",
        order.order_id.to_string(),
    )
    .execute(&shop.db)
    .await
    .unwrap();
}
