//! An outbox, its readers, and a receiver that records what it was given.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use relay::reader::{Reader, Round};
use relay::{Begins, Listed, Message, Sink, SinkName, Verdict, leases};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

/// A message by its order and its number.
pub(crate) type Told = (u128, i32);

/// The outbox of a shop.
pub(crate) struct Outbox {
    /// As the owner.
    pub(crate) owner: PgPool,
    /// As the relay's role.
    pub(crate) db: PgPool,
}

impl Outbox {
    pub(crate) fn of(owner: PgPool) -> Self {
        let db = testkit::as_role(&owner, "ordersaga_relay");
        Self { owner, db }
    }

    /// Writes an order's messages with these numbers, in one transaction.
    pub(crate) async fn write(&self, order: u128, numbers: impl IntoIterator<Item = i32>) {
        let mut transaction = self.owner.begin().await.unwrap();
        write(&mut transaction, order, numbers).await;
        transaction.commit().await.unwrap();
    }

    /// Writes messages in a transaction that is still open.
    pub(crate) async fn write_late(
        &self,
        order: u128,
        numbers: impl IntoIterator<Item = i32>,
    ) -> Transaction<'static, Postgres> {
        let mut transaction = self.owner.begin().await.unwrap();
        write(&mut transaction, order, numbers).await;
        transaction
    }

    /// Executes a statement as the owner.
    pub(crate) async fn change(&self, statement: impl Into<String>) {
        let statement = AssertSqlSafe(statement.into());
        sqlx::raw_sql(statement).execute(&self.owner).await.unwrap();
    }

    /// Registers a sink.
    pub(crate) async fn register(&self, name: &str, begins: Begins) {
        let listed = Listed { name: sink(name), revision: 0, begins, batch: 1 };
        leases::register(&self.db, &listed).await.unwrap();
    }

    /// A reader for a sink, with this process id, which takes its share of the shards.
    pub(crate) async fn reader(
        &self,
        process: u128,
        name: &str,
        batch: u16,
        receiver: Arc<dyn Sink>,
    ) -> Reader {
        self.register(name, Begins::First).await;
        let process = Uuid::from_u128(process);
        let reader = Reader::new(self.db.clone(), process, sink(name), batch, receiver);
        reader.take_share().await.unwrap();
        self.prolong_leases(process).await;
        reader
    }

    /// Makes the process's leases outlast the test: nothing renews those of a reader that does not
    /// run, and on a slow machine they would expire half way.
    pub(crate) async fn prolong_leases(&self, process: Uuid) {
        self.change(format!(
            "update outbox.progress set leased_until = now() + interval '1 hour'
                where leased_by = '{process}';
             update outbox.readers set here_until = now() + interval '1 hour'
                where reader = '{process}'"
        ))
        .await;
    }

    /// Simulates the process's death: its leases expire.
    pub(crate) async fn forget(&self, process: u128) {
        let process = Uuid::from_u128(process);
        self.change(format!(
            "update outbox.progress set leased_until = now() - interval '1 s'
                where leased_by = '{process}';
             update outbox.readers set here_until = now() - interval '1 s'
                where reader = '{process}'"
        ))
        .await;
    }

    /// Waits until all transactions that are as old as the written messages have ended, in any
    /// database of the server: until then the snapshot does not include all of them.
    pub(crate) async fn all_ended(&self) {
        let ended = async || {
            sqlx::query_scalar!(
                r#"
                select pg_snapshot_xmin(pg_current_snapshot()) > max(written_by) as "ended!"
                from outbox.messages
                "#
            )
            .fetch_one(&self.owner)
            .await
            .unwrap()
        };
        while !ended().await {}
    }

    /// The records of all sinks, with the transaction that has last written each row.
    pub(crate) async fn record(&self) -> String {
        sqlx::query_scalar!(
            r#"
            select coalesce(string_agg(line, E'\n' order by line), '') as "record!" from (
                select xmin || ' ' || progress::text as line from outbox.progress
                union all select xmin || ' ' || parked::text from outbox.parked
                union all select xmin || ' ' || sinks::text from outbox.sinks
                union all select xmin || ' ' || readers::text from outbox.readers
            ) as lines
            "#
        )
        .fetch_one(&self.owner)
        .await
        .unwrap()
    }

    /// The number of a process's shards.
    pub(crate) async fn shards_of(&self, process: u128) -> i64 {
        sqlx::query_scalar!(
            r#"
            select count(*) as "shards!" from outbox.progress
            where leased_by = $1 and leased_until > now()
            "#,
            Uuid::from_u128(process),
        )
        .fetch_one(&self.owner)
        .await
        .unwrap()
    }

    /// The parked messages of a sink as order and number, and `refused`, `retried` or `behind`.
    pub(crate) async fn parked(&self, name: &str) -> Vec<(u128, i32, String)> {
        let parked = sqlx::query!(
            r#"
            select aggregateid, sequence, case
                when refused is not null then 'refused'
                when retry_at is not null then 'retried'
                else 'behind'
            end as "state!"
            from outbox.parked where sink = $1 order by aggregateid, sequence
            "#,
            name,
        );
        let parked = parked.fetch_all(&self.owner).await.unwrap();
        parked
            .into_iter()
            .map(|row| {
                (row.aggregateid.parse::<Uuid>().unwrap().as_u128(), row.sequence, row.state)
            })
            .collect()
    }
}

async fn write(
    transaction: &mut Transaction<'static, Postgres>,
    order: u128,
    numbers: impl IntoIterator<Item = i32>,
) {
    for number in numbers {
        sqlx::query!(
            r#"
            insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
            values ('order', $1, $2, 'ordersaga.order.placed.v1', '{"order_id": "o"}')
            "#,
            Uuid::from_u128(order).to_string(),
            number,
        )
        .execute(&mut **transaction)
        .await
        .unwrap();
    }
}

pub(crate) fn sink(name: &str) -> SinkName {
    name.parse().unwrap()
}

/// Reads until the reader is idle, and returns the number of rounds in which something was done.
pub(crate) async fn until_idle(reader: &mut Reader) -> usize {
    for rounds in 0..100 {
        match reader.round().await.unwrap() {
            Round::Went => {}
            Round::Idle => return rounds,
            Round::Away(pause) => unreachable!("the receiver is away for {pause:?}"),
        }
    }
    unreachable!("there is no end")
}

type Answer = Box<dyn Fn(Told) -> Verdict + Send>;

/// A receiver with planned answers that records what it was given.
pub(crate) struct Receiver {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Told>>,
    told: Mutex<Vec<Told>>,
    count: watch::Sender<usize>,
}

impl Receiver {
    /// Accepts everything.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Box::new(|_message| Verdict::Delivered)),
            asked: Mutex::default(),
            told: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    /// Sets its answers from now on.
    pub(crate) fn answers(&self, answer: impl Fn(Told) -> Verdict + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// Sets the answer to these messages; it accepts all others.
    pub(crate) fn answers_to(&self, messages: &[Told], verdict: &Verdict) {
        let (messages, verdict) = (messages.to_vec(), verdict.clone());
        self.answers(move |message| {
            if messages.contains(&message) { verdict.clone() } else { Verdict::Delivered }
        });
    }

    /// The messages it was given since the last call.
    pub(crate) fn was_asked(&self) -> Vec<Told> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// The messages it has accepted, in order.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The same without repetitions.
    pub(crate) fn first_told(&self) -> Vec<Told> {
        let mut known = HashSet::new();
        self.told().into_iter().filter(|message| known.insert(*message)).collect()
    }

    /// Waits until it has accepted this many.
    pub(crate) async fn has_taken(&self, messages: usize) {
        self.count.subscribe().wait_for(|count| *count >= messages).await.unwrap();
    }
}

#[async_trait]
impl Sink for Receiver {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        let mut stopped = HashSet::new();
        let mut verdicts = Vec::new();
        for message in batch {
            let order = message.aggregate_id.parse::<Uuid>().unwrap().as_u128();
            let message = (order, message.sequence);
            if stopped.contains(&order) {
                verdicts.push(Verdict::NotTried);
                continue;
            }
            self.asked.lock().unwrap().push(message);
            let verdict = (self.answer.lock().unwrap())(message);
            match verdict {
                Verdict::Delivered => {
                    self.told.lock().unwrap().push(message);
                    self.count.send_modify(|count| *count += 1);
                }
                Verdict::NotWanted => {}
                Verdict::Refused { .. }
                | Verdict::Unavailable { .. }
                | Verdict::NotTaken { .. }
                | Verdict::NotTried => {
                    stopped.insert(order);
                }
            }
            verdicts.push(verdict);
        }
        verdicts
    }
}

pub(crate) fn refused() -> Verdict {
    Verdict::Refused { why: "too large".to_owned() }
}

pub(crate) fn unavailable() -> Verdict {
    Verdict::Unavailable { retry_after: None, why: "no answer".to_owned() }
}

pub(crate) fn not_taken() -> Verdict {
    Verdict::NotTaken { why: "it answered 500".to_owned() }
}

/// Asserts that the messages of each order arrive in the order of their numbers, from the first one
/// without a gap.
pub(crate) fn assert_in_order(told: &[Told]) {
    let orders: HashSet<u128> = told.iter().map(|(order, _)| *order).collect();
    for order in orders {
        let numbers = told.iter().filter(|(of, _)| *of == order).map(|(_, number)| *number);
        let numbers: Vec<_> = numbers.collect();
        let all: Vec<i32> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, all, "order {order} of {told:?}");
    }
}
