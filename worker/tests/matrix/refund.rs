//! Runs refunds through their cells.
//!
//! An order completes undisturbed; then it is partly refunded, or a person gives the refund up
//! because the provider does not make it.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::refund::{RefundId, RefundState};
use domain::{Decision, Order, OrderId, OrderStatus};
use rust_decimal::Decimal;
use saga::{Role, WaitingFor};
use temporalio_client::WorkflowDescribeOptions;
use tokio::time::{MissedTickBehavior, interval, timeout};
use workflows::order::{NEEDS_ATTENTION, PartyUpdate, signal_payload};
use workflows::refund::RefundSaga;

use crate::cell::{Cell, Course, Point, Trouble, contracts_of};
use crate::run::{self, Manner};
use crate::stripe::Counterpart;
use crate::support::{
    Fault, Gate, RefundHandle, Shop, asks_back, decided, ended, launch_refund, refund_ended,
};

/// The refunded share of the payment.
const PERCENT: u32 = 40;

/// How often the simulated person, or bank, checks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Every call that a refund makes on either course; fails if one of the contract table is missing.
pub async fn points(shop: &Shop, manner: Manner) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for course in [Course::IsRefunded, Course::IsGivenUp] {
        let order = run::order_on(shop, course);
        let refund = asked_for(shop, &order, course).await;
        let handle = launch_refund(shop, refund).await;
        let is_given_up = course == Course::IsGivenUp;
        let outside = Outside { fails: is_given_up, is_given_up, needs_person: is_given_up };
        let end = outside.until_ended(shop, &handle, order.order_id, async {});
        let in_time = timeout(manner.give_up_after, end).await;
        in_time.expect("a refund to which nothing else happens comes to its end");
        for (activity, calls) in shop.faults.calls_in(&refund.workflow_id()) {
            for (site, call) in calls.into_iter().enumerate() {
                let point = Point { course, activity: activity.clone(), site, call };
                let is_own = match point.contract().role {
                    Role::Does | Role::Notes => course == Course::IsRefunded,
                    Role::Undoes | Role::Accepts => is_given_up,
                };
                if is_own
                    && contracts_of(RefundId::WORKFLOW_ID_PREFIX).any(|it| it.name == activity)
                {
                    points.insert(point);
                }
            }
        }
    }
    for contract in contracts_of(RefundId::WORKFLOW_ID_PREFIX) {
        assert!(
            points.iter().any(|point| point.activity == contract.name),
            "no refund calls {}, so nothing shows what happens when it goes wrong",
            contract.name
        );
    }
    points
}

/// What is wrong with the end of the cell's refund, if anything.
pub async fn through(shop: &Shop, cell: &Cell, order: &Order) -> Option<String> {
    let Point { course, activity, site, .. } = &cell.point;
    let refund = asked_for(shop, order, *course).await;
    let workflow = refund.workflow_id();
    let (gate, before_party) = (Gate::default(), Gate::default());
    for fault in cell.trouble.faults(None, &gate) {
        shop.faults.plan_in(&workflow, activity, *site, fault);
    }
    if cell.is_its_partys_doing() {
        let stops = Fault::HeldBefore(before_party.clone());
        shop.faults.plan_in(&workflow, activity, *site, stops);
    }
    let handle = launch_refund(shop, refund).await;
    let is_given_up = *course == Course::IsGivenUp;
    let fails = is_given_up || cell.trouble == Trouble::RefundFails;
    let needs_person = fails || cell.needs_operator();
    let outside = Outside { fails, is_given_up, needs_person };
    let news = async |_party: &str, status: &str| tell_news(&handle, status).await;
    let party = run::misbehave(shop, cell, order.order_id, &before_party, news);
    let ended = outside.until_ended(shop, &handle, order.order_id, party).await;
    shop.faults.drain_in(&workflow, activity).await;
    complaint(shop, is_given_up, refund, ended).await
}

/// A recorded refund of a completed order.
async fn asked_for(shop: &Shop, order: &Order, course: Course) -> RefundId {
    let status = ended(&shop.place(order).await).await;
    assert_eq!(status, OrderStatus::Completed, "order {}", order.order_id);
    if course == Course::IsGivenUp {
        match Counterpart::of(shop) {
            Some(stripe) => stripe.refund_pends(order.order_id).await,
            None => provider_never_decides(shop, order).await,
        }
    }
    asks_back(shop, order, PERCENT).await
}

/// The provider accepts every refund of the order, and decides none.
async fn provider_never_decides(shop: &Shop, order: &Order) {
    sqlx::query(
        "insert into sandbox_provider.behaviours (call, whom, behaviour)
         values ('refund', $1, 'pending')",
    )
    .bind(order.order_id.to_string())
    .execute(&shop.db)
    .await
    .unwrap();
}

/// Outside events during a refund.
struct Outside {
    /// The bank rejects the money at first.
    fails: bool,
    /// A person then gives the refund up.
    is_given_up: bool,
    /// A person is present.
    needs_person: bool,
}

impl Outside {
    /// The refund's end, while the party behaves as planned.
    async fn until_ended(
        &self,
        shop: &Shop,
        handle: &RefundHandle,
        order: OrderId,
        party: impl Future<Output = ()>,
    ) -> RefundState {
        let all = async {
            tokio::join!(party, self.bank(shop, handle, order), self.person(handle));
            std::future::pending().await
        };
        tokio::select! {
            state = refund_ended(handle) => state,
            never = all => never,
        }
    }

    /// Makes the refund fail as soon as it exists, and sends the provider's notification. If the
    /// refund is to be given up, every refund fails: two attempts that overlap on a slow machine may
    /// both request one.
    async fn bank(&self, shop: &Shop, handle: &RefundHandle, order: OrderId) {
        if !self.fails {
            return;
        }
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if run::refund_fails(shop, order).await {
                tell_news(handle, "refund-failed").await;
                if !self.is_given_up {
                    return;
                }
            }
        }
    }

    /// Gives the refund up once, if that is its course, and otherwise retries everything. Never
    /// returns.
    async fn person(&self, handle: &RefundHandle) {
        if !self.needs_person {
            return;
        }
        let mut decision = if self.is_given_up { Decision::Skip } else { Decision::Retry };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(waiting) = waits(handle).await else { continue };
            let resolution = decided(&waiting, decision);
            let options = Default::default();
            // The refund may have continued since it was checked.
            if handle.execute_update(RefundSaga::resolve, resolution, options).await.is_ok() {
                decision = Decision::Retry;
            }
        }
    }
}

/// What the workflow waits for, queried like an order's.
async fn waits(handle: &RefundHandle) -> Option<WaitingFor> {
    let description = handle.describe(WorkflowDescribeOptions::default()).await.ok()?;
    if description.search_attributes().get(&NEEDS_ATTENTION) != Some(true) {
        return None;
    }
    let view = handle.query(RefundSaga::refund, (), Default::default()).await;
    view.ok()?.waiting_for
}

/// The provider notifies the refund of a change. A refund that has ended meanwhile ignores it.
async fn tell_news(handle: &RefundHandle, status: &str) {
    let (reference, status) = ("re_1".to_owned(), status.to_owned());
    let payload = signal_payload(&PartyUpdate { reference, status }).unwrap();
    handle.signal(RefundSaga::payment_update, payload, Default::default()).await.ok();
}

/// Checks the record, the books and the provider after the refund's end.
async fn complaint(
    shop: &Shop,
    is_given_up: bool,
    refund: RefundId,
    ended: RefundState,
) -> Option<String> {
    let planned = if is_given_up { RefundState::Failed } else { RefundState::Succeeded };
    let found = sqlx::query!(
        r#"
        with due as (
            select state, case state when 'succeeded' then amount else 0 end as amount
            from payments.refund_requests where order_id = $1 and number = 1
        ), given as (
            select coalesce(sum(made.amount), 0) as amount
            from sandbox_provider.refunds as made
            join sandbox_provider.payments using (payment_id)
            where merchant_reference = $1::uuid::text and made.state <> 'failed'
        ), booked as (
            select coalesce(sum(case side when 'credit' then amount else -amount end), 0) as amount
            from ledger.entries join ledger.transactions using (transaction_id)
            where order_id = $1 and account = 'payment-clearing' and key like '%:issue-refund:%'
        )
        select
            due.state as "state!", given.amount = due.amount as "is_given!",
            booked.amount = due.amount as "is_booked!",
            exists (
                select from orders.orders where order_id = $1 and attention is not null
            ) as "waits!"
        from due, given, booked
        "#,
        refund.order_id.uuid(),
    )
    .fetch_one(&shop.db)
    .await
    .unwrap();
    let is_given = match Counterpart::of(shop) {
        Some(stripe) => is_given_at_stripe(shop, &stripe, refund).await,
        None => found.is_given,
    };
    let stands = (found.state.as_str(), is_given, found.is_booked, found.waits);
    let is_right = ended == planned && stands == (planned.name(), true, true, false);
    (!is_right).then(|| {
        format!("ended as {ended:?}; state, given, booked, waits for a person: {stands:?}")
    })
}

/// Whether Stripe's counterpart has refunded exactly what the record says.
async fn is_given_at_stripe(shop: &Shop, stripe: &Counterpart, refund: RefundId) -> bool {
    let due: Decimal = sqlx::query_scalar(
        "select case state when 'succeeded' then amount else 0 end
         from payments.refund_requests where order_id = $1 and number = 1",
    )
    .bind(refund.order_id.uuid())
    .fetch_one(&shop.db)
    .await
    .unwrap();
    Decimal::new(stripe.given_back(refund.order_id).await, 2) == due
}
