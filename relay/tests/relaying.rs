//! Every message of the outbox reaches every sink, at least once and in order per order, despite
//! late commits, refusals and crashes.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]
#![expect(clippy::arithmetic_side_effects, reason = "a test counts little")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use relay::reader::{Reader, Round};
use relay::source::SourceError;
use relay::{Begins, Listed, Message, Sink, SinkSource, Verdict};
use runtime::schema::MIGRATIONS;
use sqlx::{PgConnection, PgPool};
use support::{
    Outbox, Receiver, assert_in_order, not_taken, refused, sink, unavailable, until_idle,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_commits_late_is_delivered_late_and_in_order(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    let late = outbox.write_late(1, [1, 2]).await;
    let later = outbox.write_late(3, [1]).await;
    // Written after those, and committed before them.
    outbox.write(2, [1]).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(2, 1)]);
    outbox.write(2, [2]).await;
    until_idle(&mut reader).await;
    late.commit().await.unwrap();
    outbox.write(1, [3]).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(2, 1), (2, 2), (1, 1), (1, 2), (1, 3)]);
    // A rolled-back message is never delivered.
    later.rollback().await.unwrap();
    assert_eq!(until_idle(&mut reader).await, 0);
    assert_eq!(receiver.told().len(), 5);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_commits_while_a_backlog_is_worked_through_is_delivered_after_it(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    outbox.write(9, [1]).await;
    let late = outbox.write_late(1, [1]).await;
    for number in 1..=6 {
        outbox.write(2, [number]).await;
        outbox.write(3, [number]).await;
    }
    let mut reader = outbox.reader(1, "kafka", 5, receiver.clone()).await;
    assert_eq!(reader.round().await.unwrap(), Round::Went);
    assert_eq!(receiver.told().len(), 5);
    // By position, it precedes everything that is still to be read.
    late.commit().await.unwrap();
    outbox.write(2, [7]).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told().len(), 15, "each once");
    assert_in_order(&receiver.told());
    assert!(receiver.told().contains(&(1, 1)));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_backlog_of_many_pages_is_delivered_once_each_and_in_order(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    for number in 1..=20 {
        for order in 1..=10 {
            outbox.write(order, [number]).await;
        }
    }
    // With such a small page, the existing messages are a backlog from the start.
    let mut reader = outbox.reader(1, "kafka", 1, receiver.clone()).await;
    for told in 1..=3 {
        assert_eq!(reader.round().await.unwrap(), Round::Went);
        assert_eq!(receiver.told().len(), told);
    }
    let mut reader = outbox.reader(1, "kafka", 7, receiver.clone()).await;
    let rounds = until_idle(&mut reader).await;
    assert!((29..=30).contains(&rounds), "{rounds} rounds");
    assert_eq!(receiver.told().len(), 200, "each once");
    assert_in_order(&receiver.told());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn who_has_nothing_to_deliver_writes_nothing(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    outbox.write(1, [1, 2]).await;
    until_idle(&mut reader).await;
    let before = outbox.record().await;
    for _ in 0..3 {
        assert_eq!(reader.round().await.unwrap(), Round::Idle);
    }
    assert_eq!(outbox.record().await, before);
    assert_eq!(receiver.told(), [(1, 1), (1, 2)]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn processes_share_the_shards_and_take_those_of_a_dead_one_over(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut first = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    assert_eq!(outbox.shards_of(1).await, 8);
    let mut second = outbox.reader(2, "kafka", 10, receiver.clone()).await;
    assert_eq!(outbox.shards_of(2).await, 0, "all of them are leased");
    for reader in [&first, &second, &first] {
        reader.take_share().await.unwrap();
    }
    for process in [1, 2] {
        outbox.prolong_leases(Uuid::from_u128(process)).await;
    }
    assert_eq!((outbox.shards_of(1).await, outbox.shards_of(2).await), (4, 4));
    for number in 1..=4 {
        for order in 1..=12 {
            outbox.write(order, [number]).await;
        }
        until_idle(&mut first).await;
        until_idle(&mut second).await;
    }
    assert_eq!(receiver.told().len(), 48, "each by one of them");
    outbox.forget(1).await;
    second.take_share().await.unwrap();
    assert_eq!((outbox.shards_of(1).await, outbox.shards_of(2).await), (0, 8));
    for order in 1..=12 {
        outbox.write(order, [5]).await;
    }
    // It does not deliver messages of shards that it does not hold.
    assert_eq!(until_idle(&mut first).await, 0);
    until_idle(&mut second).await;
    assert_eq!(receiver.told().len(), 60);
    assert_in_order(&receiver.told());
}

/// A slow receiver: it reports each call, and answers when it is told to.
struct Slow {
    receiver: Arc<Receiver>,
    asked: Notify,
    answer: Notify,
}

#[async_trait]
impl Sink for Slow {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        self.asked.notify_one();
        self.answer.notified().await;
        self.receiver.deliver(batch).await
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_process_that_was_taken_for_dead_records_nothing_and_reverses_no_order(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let (asked, answer) = (Notify::new(), Notify::new());
    let slow = Arc::new(Slow { receiver: receiver.clone(), asked, answer });
    outbox.write(1, 1..=3).await;
    outbox.write(2, 1..=3).await;
    let mut first = outbox.reader(1, "kafka", 10, slow.clone()).await;
    let delivering = tokio::spawn(async move { (first.round().await, first) });
    slow.asked.notified().await;
    outbox.forget(1).await;
    let mut second = outbox.reader(2, "kafka", 2, receiver.clone()).await;
    until_idle(&mut second).await;
    outbox.write(1, [4]).await;
    until_idle(&mut second).await;
    // It is alive, and has a lease again by the time its receiver answers.
    outbox.forget(2).await;
    let again = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    drop(again);
    let before = outbox.record().await;
    slow.answer.notify_one();
    let (round, mut first) = delivering.await.unwrap();
    assert_eq!(round.unwrap(), Round::Went);
    assert_eq!(
        outbox.record().await,
        before,
        "what it has read under its old lease does not count"
    );
    assert_eq!(receiver.told().len(), 13, "what it was delivering comes a second time");
    assert_in_order(&receiver.first_told());
    outbox.write(1, [5]).await;
    let delivering = tokio::spawn(async move { first.round().await });
    slow.asked.notified().await;
    slow.answer.notify_one();
    delivering.await.unwrap().unwrap();
    assert_eq!(receiver.told().last(), Some(&(1, 5)), "under its new lease it goes on");
    assert_eq!(receiver.told().len(), 14);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refused_message_parks_its_order_and_no_other(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 2)], &refused());
    outbox.write(1, 1..=3).await;
    outbox.write(2, 1..=3).await;
    until_idle(&mut reader).await;
    outbox.write(1, [4]).await;
    outbox.write(2, [4]).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(1, 1), (2, 1), (2, 2), (2, 3), (2, 4)]);
    let parked = |number, state: &str| (1, number, state.to_owned());
    assert_eq!(
        outbox.parked("kafka").await,
        [parked(2, "refused"), parked(3, "behind"), parked(4, "behind")]
    );
    // Without a decision it is not retried.
    receiver.was_asked();
    assert_eq!(until_idle(&mut reader).await, 0);
    assert!(receiver.was_asked().is_empty());
}

async fn decide(outbox: &Outbox, decision: &str) -> i64 {
    sqlx::query_scalar!(
        r#"select outbox.decide('kafka', null, $1, 'eve', 'it is repaired') as "decided!""#,
        decision,
    )
    .fetch_one(&outbox.owner)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_was_refused_is_delivered_again_with_all_behind_it_once_somebody_decides_so(
    db: PgPool,
) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 2, receiver.clone()).await;
    receiver.answers_to(&[(1, 1), (2, 2)], &refused());
    outbox.write(1, 1..=5).await;
    outbox.write(2, 1..=3).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(2, 1)]);
    // It is refused again, and waits again.
    assert_eq!(decide(&outbox, "replay").await, 2);
    until_idle(&mut reader).await;
    assert_eq!((receiver.told().len(), outbox.parked("kafka").await.len()), (1, 7));
    receiver.answers_to(&[(1, 4)], &refused());
    assert_eq!(decide(&outbox, "replay").await, 2);
    assert_eq!(decide(&outbox, "replay").await, 0, "it is decided already");
    until_idle(&mut reader).await;
    assert_in_order(&receiver.told());
    let left = [(1, 4, "refused".to_owned()), (1, 5, "behind".to_owned())];
    assert_eq!(outbox.parked("kafka").await, left);
    receiver.answers(|_message| Verdict::Delivered);
    decide(&outbox, "replay").await;
    outbox.write(1, [6]).await;
    until_idle(&mut reader).await;
    assert_in_order(&receiver.told());
    assert_eq!((receiver.told().len(), outbox.parked("kafka").await.len()), (9, 0));
}

/// Resets a sink to the first kept message; returns the number of messages, if the sink exists.
async fn replay_all(outbox: &Outbox, name: &str) -> Option<i64> {
    sqlx::query_scalar!("select outbox.replay_all($1, 'eve', 'the broker came back empty')", name)
        .fetch_one(&outbox.owner)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sink_that_is_set_back_hears_everything_again_in_order_and_no_other_does(db: PgPool) {
    let (outbox, receiver, other) = (Outbox::of(db), Receiver::new(), Receiver::new());
    let mut kafka = outbox.reader(1, "kafka", 2, receiver.clone()).await;
    let mut mail = outbox.reader(1, "mail", 2, other.clone()).await;
    receiver.answers_to(&[(2, 2)], &refused());
    outbox.write(1, 1..=4).await;
    outbox.write(2, 1..=3).await;
    until_idle(&mut kafka).await;
    until_idle(&mut mail).await;
    assert_eq!((receiver.told().len(), other.told().len()), (5, 7));
    receiver.answers(|_message| Verdict::Delivered);
    assert_eq!(replay_all(&outbox, "kafka").await, Some(7));
    until_idle(&mut kafka).await;
    until_idle(&mut mail).await;
    let again = receiver.told().split_off(5);
    assert_eq!(again.len(), 7, "also what was parked, and each once");
    assert_in_order(&again);
    assert!(outbox.parked("kafka").await.is_empty());
    assert_eq!(other.told().len(), 7);
    assert_eq!(replay_all(&outbox, "amqp").await, None);
    let told = sqlx::query!("select sink, action, done_by, why from outbox.interventions");
    let told = told.fetch_one(&outbox.owner).await.unwrap();
    assert_eq!((&*told.sink, &*told.action, &*told.done_by), ("kafka", "replay-all", "eve"));
    assert_eq!(told.why, "the broker came back empty");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_was_under_way_when_its_sink_was_set_back_comes_again(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let (asked, answer) = (Notify::new(), Notify::new());
    let slow = Arc::new(Slow { receiver: receiver.clone(), asked, answer });
    outbox.write(1, 1..=3).await;
    let mut reader = outbox.reader(1, "kafka", 10, slow.clone()).await;
    let delivering = tokio::spawn(async move { reader.round().await });
    slow.asked.notified().await;
    replay_all(&outbox, "kafka").await;
    slow.answer.notify_one();
    delivering.await.unwrap().unwrap();
    assert_eq!(receiver.told().len(), 3);
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(1, 1), (1, 2), (1, 3), (1, 1), (1, 2), (1, 3)]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_skipped_is_never_told_and_what_is_behind_it_is(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 2)], &refused());
    outbox.write(1, 1..=4).await;
    until_idle(&mut reader).await;
    assert_eq!(decide(&outbox, "skip").await, 1);
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(1, 1), (1, 3), (1, 4)]);
    assert!(outbox.parked("kafka").await.is_empty());
    let told = sqlx::query!(
        "select action, sequence, done_by, why from outbox.interventions order by intervention_id"
    );
    let told = told.fetch_all(&outbox.owner).await.unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|row| (row.action.as_str(), row.sequence, row.done_by.as_str(), row.why.as_str()))
        .collect();
    assert_eq!(told, [("skip", Some(2), "eve", "it is repaired")]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_receiver_that_is_away_only_delays(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers(|_message| unavailable());
    for order in 1..=4 {
        outbox.write(order, 1..=2).await;
    }
    let away = |pause| Round::Away(Duration::from_millis(pause));
    assert_eq!(reader.round().await.unwrap(), away(200));
    assert_eq!(receiver.was_asked().len(), 4);
    let failing = outbox.record().await;
    assert!(failing.contains("no answer"), "{failing}");
    for pause in [400, 800, 1_600] {
        assert_eq!(reader.round().await.unwrap(), away(pause));
        assert_eq!(receiver.was_asked().len(), 2, "it is asked by two messages");
    }
    assert_eq!(outbox.record().await, failing, "and nothing is written");
    assert!(outbox.parked("kafka").await.is_empty());
    receiver.answers(|_message| Verdict::Delivered);
    until_idle(&mut reader).await;
    assert_eq!(receiver.first_told().len(), 8);
    assert_in_order(&receiver.first_told());
    assert!(!outbox.record().await.contains("no answer"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_receiver_says_when_it_wants_to_be_asked_again(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    outbox.write(1, [1]).await;
    let retry_after = Some(Duration::from_secs(7));
    receiver.answers(move |_message| Verdict::Unavailable { retry_after, why: "busy".to_owned() });
    assert_eq!(reader.round().await.unwrap(), Round::Away(Duration::from_secs(7)));
}

/// Makes the pauses of parked messages expire.
async fn time_passes(outbox: &Outbox) {
    outbox.change("update outbox.parked set retry_at = now() where retry_at is not null").await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_message_that_alone_is_not_taken_is_set_aside_and_refused_after_ten_tries(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 1)], &not_taken());
    outbox.write(1, 1..=2).await;
    outbox.write(2, [1]).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(2, 1)]);
    let parked = |number, state: &str| (1, number, state.to_owned());
    assert_eq!(outbox.parked("kafka").await, [parked(1, "retried"), parked(2, "behind")]);
    outbox.change("update outbox.parked set retry_at = now() + interval '1 hour'").await;
    until_idle(&mut reader).await;
    receiver.was_asked();
    assert_eq!(until_idle(&mut reader).await, 0);
    assert!(receiver.was_asked().is_empty(), "its pause is not over");
    outbox.change("update outbox.parked set retry_at = null where sequence > 1").await;
    // As long as nothing else is accepted, the receiver may be unavailable.
    for _ in 0..12 {
        time_passes(&outbox).await;
        until_idle(&mut reader).await;
    }
    let asked = receiver.was_asked();
    assert!(asked.len() >= 12 && asked.iter().all(|message| *message == (1, 1)), "{asked:?}");
    for number in 2..=9 {
        outbox.write(2, [number]).await;
        until_idle(&mut reader).await;
        time_passes(&outbox).await;
        until_idle(&mut reader).await;
        assert_eq!(outbox.parked("kafka").await, [parked(1, "retried"), parked(2, "behind")]);
    }
    outbox.write(2, [10]).await;
    until_idle(&mut reader).await;
    time_passes(&outbox).await;
    until_idle(&mut reader).await;
    assert_eq!(outbox.parked("kafka").await, [parked(1, "refused"), parked(2, "behind")]);
    receiver.answers(|_message| Verdict::Delivered);
    decide(&outbox, "replay").await;
    until_idle(&mut reader).await;
    assert_in_order(&receiver.told());
    assert_eq!(receiver.told().len(), 12);
}

/// Why a sink makes no progress, the number of its retried messages, and whether the oldest counts.
async fn waits(outbox: &Outbox) -> (Option<String>, i64, i64, bool) {
    let standing = sqlx::query!(
        r#"select failure, retried as "retried!", refused as "refused!",
               oldest_at is not null as "is_late!"
           from outbox.standings()"#
    );
    let standing = standing.fetch_one(&outbox.owner).await.unwrap();
    (standing.failure, standing.retried, standing.refused, standing.is_late)
}

/// For example, a partition without a leader, or messages of a type that no queue is bound to.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_receiver_cannot_take_now_only_waits_while_it_takes_others(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    let second = [(1, 2), (2, 2)];
    receiver.answers_to(&second, &unavailable());
    for order in 1..=3 {
        outbox.write(order, 1..=3).await;
    }
    until_idle(&mut reader).await;
    let (failure, retried, refused, is_late) = waits(&outbox).await;
    assert_eq!(failure.as_deref(), Some("no answer"), "operators see why");
    assert_eq!((retried, refused, is_late), (2, 0, true));
    // More attempts than the limit for a message that the receiver itself does not accept.
    for number in 4..=15 {
        outbox.write(3, [number]).await;
        time_passes(&outbox).await;
        receiver.was_asked();
        until_idle(&mut reader).await;
        let asked = receiver.was_asked();
        assert!(second.iter().all(|message| asked.contains(message)), "{asked:?}");
        assert_eq!(receiver.told().last(), Some(&(3, number)), "the others go on");
    }
    assert_eq!(waits(&outbox).await.2, 0, "nothing is refused");
    receiver.answers(|_message| Verdict::Delivered);
    time_passes(&outbox).await;
    until_idle(&mut reader).await;
    assert_in_order(&receiver.told());
    assert_eq!(receiver.told().len(), 21, "each once, and nobody has had to decide");
    assert!(outbox.parked("kafka").await.is_empty());
    assert_eq!(waits(&outbox).await, (None, 0, 0, false));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_message_that_is_taken_in_the_end_is_delivered_with_its_order(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 1)], &unavailable());
    outbox.write(1, 1..=3).await;
    outbox.write(2, [1]).await;
    until_idle(&mut reader).await;
    receiver.answers(|_message| Verdict::Delivered);
    time_passes(&outbox).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(2, 1), (1, 1), (1, 2), (1, 3)]);
    assert!(outbox.parked("kafka").await.is_empty());
}

/// A receiver that never accepts one message is not mistaken for an unavailable one.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_message_that_is_never_taken_does_not_hold_up_a_quiet_shop(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 1)], &unavailable());
    outbox.write(1, [1]).await;
    for _ in 0..3 {
        assert!(matches!(reader.round().await.unwrap(), Round::Away(_)));
    }
    outbox.write(2, [1]).await;
    outbox.write(3, [1]).await;
    until_idle(&mut reader).await;
    let mut told = receiver.first_told();
    told.sort_unstable();
    assert_eq!(told, [(2, 1), (3, 1)]);
    assert_eq!(outbox.parked("kafka").await, [(1, 1, "retried".to_owned())]);
}

/// A sink with a bug.
struct Mute;

#[async_trait]
impl Sink for Mute {
    async fn deliver(&self, _batch: &[Message]) -> Vec<Verdict> {
        Vec::new()
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sink_that_does_not_say_what_came_of_each_message_has_delivered_none(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    outbox.write(1, [1, 2]).await;
    let mut reader = outbox.reader(1, "kafka", 10, Arc::new(Mute)).await;
    assert!(matches!(reader.round().await.unwrap(), Round::Away(_)));
    let mut repaired = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    until_idle(&mut repaired).await;
    assert_eq!(receiver.told(), [(1, 1), (1, 2)]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_receiver_does_not_want_is_had_all_the_same(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 1)], &Verdict::NotWanted);
    outbox.write(1, [1, 2]).await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(1, 2)]);
    let counted = sqlx::query!(
        r#"select sum(delivered)::bigint as "delivered!", sum(not_wanted)::bigint as "not_wanted!"
           from outbox.progress"#
    );
    let counted = counted.fetch_one(&outbox.owner).await.unwrap();
    assert_eq!((counted.delivered, counted.not_wanted), (1, 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_paused_sink_is_told_nothing_until_it_goes_on(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    receiver.answers_to(&[(1, 1)], &refused());
    outbox.write(1, [1]).await;
    until_idle(&mut reader).await;
    receiver.answers(|_message| Verdict::Delivered);
    outbox.change("select outbox.pause('kafka', true, 'eve', 'maintenance')").await;
    outbox.write(2, [1]).await;
    decide(&outbox, "replay").await;
    assert_eq!(until_idle(&mut reader).await, 0);
    assert!(receiver.told().is_empty());
    outbox.change("select outbox.pause('kafka', false, 'eve', 'it is over')").await;
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(1, 1), (2, 1)]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_new_sink_begins_with_what_is_kept_or_with_what_is_new(db: PgPool) {
    let outbox = Outbox::of(db);
    outbox.write(1, [1]).await;
    let late = outbox.write_late(3, [1]).await;
    outbox.register("mail", Begins::Now).await;
    late.commit().await.unwrap();
    outbox.write(2, [1]).await;
    let (all, new) = (Receiver::new(), Receiver::new());
    until_idle(&mut outbox.reader(1, "kafka", 10, all.clone()).await).await;
    until_idle(&mut outbox.reader(1, "mail", 10, new.clone()).await).await;
    assert_eq!(all.told(), [(1, 1), (3, 1), (2, 1)]);
    assert_eq!(new.told(), [(3, 1), (2, 1)], "what was being written is new");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_waits_is_counted_up_to_a_limit_and_to_a_lower_one_while_it_is_paused(db: PgPool) {
    let outbox = Outbox::of(db);
    outbox.register("kafka", Begins::First).await;
    // All in one shard.
    outbox
        .change(
            "insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
             select 'order', 'o', number, 'ordersaga.order.placed.v1', '{}'
             from generate_series(1, 1300) as number",
        )
        .await;
    let waiting = async || {
        sqlx::query_scalar!(r#"select waiting as "waiting!" from outbox.standings()"#)
            .fetch_one(&outbox.owner)
            .await
            .unwrap()
    };
    assert_eq!(waiting().await, 1_250);
    outbox.change("select outbox.pause('kafka', true, 'eve', 'maintenance')").await;
    assert_eq!(waiting().await, 125);
}

/// The number of messages that a sweep with a retention of one day removes, and of those left.
async fn swept(outbox: &Outbox) -> (i64, i64) {
    let removed = sqlx::query_scalar!(r#"select outbox.sweep('1 day', 100) as "removed!""#);
    let removed = removed.fetch_one(&outbox.owner).await.unwrap();
    let left = sqlx::query_scalar!(r#"select count(*) as "left!" from outbox.messages"#);
    (removed, left.fetch_one(&outbox.owner).await.unwrap())
}

async fn days_pass(outbox: &Outbox, days: i32) {
    outbox
        .change(format!("update outbox.marks set marked_at = marked_at - interval '{days} days'"))
        .await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_message_is_kept_until_every_sink_has_had_it_and_for_the_retention_after_that(
    db: PgPool,
) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut kafka = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    let mut mail = outbox.reader(1, "mail", 10, Receiver::new()).await;
    receiver.answers_to(&[(1, 2)], &refused());
    outbox.write(1, 1..=3).await;
    outbox.write(2, 1..=2).await;
    outbox.all_ended().await;
    until_idle(&mut kafka).await;
    assert_eq!(swept(&outbox).await, (0, 5));
    days_pass(&outbox, 2).await;
    assert_eq!(swept(&outbox).await, (0, 5), "one sink has had none of them");
    until_idle(&mut mail).await;
    assert_eq!(swept(&outbox).await, (0, 5), "the retention begins when the last one has had it");
    days_pass(&outbox, 2).await;
    outbox.write(3, [1]).await;
    assert_eq!(swept(&outbox).await, (3, 3), "what is parked stays, and what nobody has had");
    decide(&outbox, "skip").await;
    for reader in [&mut kafka, &mut mail] {
        until_idle(reader).await;
    }
    outbox.all_ended().await;
    assert_eq!(swept(&outbox).await, (2, 1));
    days_pass(&outbox, 2).await;
    assert_eq!(swept(&outbox).await, (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_new_sink_keeps_what_is_still_there_from_being_removed(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut kafka = outbox.reader(1, "kafka", 10, Receiver::new()).await;
    outbox.write(1, [1]).await;
    outbox.all_ended().await;
    until_idle(&mut kafka).await;
    swept(&outbox).await;
    days_pass(&outbox, 2).await;
    let mut amqp = outbox.reader(1, "amqp", 10, receiver.clone()).await;
    assert_eq!(swept(&outbox).await, (0, 1));
    until_idle(&mut amqp).await;
    assert_eq!(receiver.told(), [(1, 1)]);
    assert_eq!(swept(&outbox).await, (1, 0));
}

/// With transaction ids that this cluster has not reached; and with the cluster that assigned them.
const RESTORED: [&str; 3] = [
    "update outbox.progress set seen = '9000000000:9000000000:'",
    "update outbox.messages set written_by = '9000000000' where sequence = 1",
    "update outbox.origin set cluster = cluster + 1",
];

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_was_restored_from_a_dump_delivers_nothing_until_it_is_rebased(db: PgPool) {
    let outbox = Outbox::of(db);
    let options = outbox.owner.connect_options();
    let sinks = ["kafka", "amqp", "mail"].into_iter().zip(RESTORED);
    for (order, (name, restored)) in (1..).zip(sinks) {
        let receiver = Receiver::new();
        outbox.write(order, [1]).await;
        let mut reader = outbox.reader(1, name, 10, receiver.clone()).await;
        until_idle(&mut reader).await;
        let before = receiver.told().len();
        outbox.change(restored).await;
        outbox.write(order, [2]).await;
        assert_eq!(reader.round().await.unwrap(), Round::Idle, "{restored}");
        assert_eq!(receiver.told().len(), before);
        let (removed, left) = swept(&outbox).await;
        assert_eq!(removed, 0, "{restored}");

        assert_eq!(relay::rebase::rebase(&options, false).await.unwrap(), left);
        assert_eq!(until_idle(&mut reader).await, 0, "it has lost its lease");
        reader.take_share().await.unwrap();
        until_idle(&mut reader).await;
        let again = receiver.told().split_off(before);
        assert_eq!(i64::try_from(again.len()).unwrap(), left, "all that is kept comes again");
        assert_in_order(&again);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cluster_that_has_kept_its_transaction_ids_keeps_every_sinks_place(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let mut reader = outbox.reader(1, "kafka", 10, receiver.clone()).await;
    outbox.write(1, [1]).await;
    until_idle(&mut reader).await;
    outbox.change("update outbox.origin set cluster = cluster + 1").await;
    relay::rebase::rebase(&outbox.owner.connect_options(), true).await.unwrap();
    outbox.write(1, [2]).await;
    reader.take_share().await.unwrap();
    until_idle(&mut reader).await;
    assert_eq!(receiver.told(), [(1, 1), (1, 2)]);
}

/// A source whose sinks come and go.
struct Endpoints {
    there: Mutex<Vec<&'static str>>,
    receiver: Arc<Receiver>,
}

#[async_trait]
impl SinkSource for Endpoints {
    async fn list(&self) -> Result<Vec<Listed>, SourceError> {
        let there = self.there.lock().unwrap();
        let listed = there.iter().map(|name| Listed {
            name: sink(name),
            revision: 0,
            begins: Begins::First,
            batch: 10,
        });
        Ok(listed.collect())
    }

    async fn open(&self, _listed: &Listed) -> Result<Arc<dyn Sink>, SourceError> {
        Ok(Arc::<Receiver>::clone(&self.receiver))
    }
}

/// The sinks with a reader.
async fn read_for(outbox: &Outbox) -> Vec<String> {
    sqlx::query_scalar!("select sink from outbox.readers order by sink")
        .fetch_all(&outbox.owner)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn sinks_come_and_go_while_the_relay_runs_and_it_leaves_nothing_leased(db: PgPool) {
    let (outbox, receiver) = (Outbox::of(db), Receiver::new());
    let endpoints =
        Arc::new(Endpoints { there: Mutex::new(vec!["webhook-a"]), receiver: receiver.clone() });
    let (stop, pool) = (CancellationToken::new(), outbox.db.clone());
    let (stopped, source) = (stop.clone(), endpoints.clone());
    let running = tokio::spawn(async move {
        let source: Arc<dyn SinkSource> = source;
        relay::run::read(&pool, &[source], &stopped).await;
    });
    outbox.write(1, [1]).await;
    receiver.has_taken(1).await;
    endpoints.there.lock().unwrap().push("webhook-b");
    // Kept messages are delivered to the new one, too.
    receiver.has_taken(2).await;
    outbox.write(1, [2]).await;
    receiver.has_taken(4).await;
    *endpoints.there.lock().unwrap() = vec!["webhook-b"];
    while read_for(&outbox).await != ["webhook-b"] {}
    outbox.write(1, [3]).await;
    receiver.has_taken(5).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(receiver.told().len(), 5);
    let leased = sqlx::query_scalar!(
        r#"select count(*) as "leased!" from outbox.progress where leased_by is not null"#
    );
    assert_eq!(leased.fetch_one(&outbox.owner).await.unwrap(), 0);
    assert_eq!(read_for(&outbox).await, [""; 0]);
}

/// The SQLSTATE with which Postgres rejects a statement of the relay.
async fn refusal(db: &PgPool, statement: &'static str) -> String {
    let mut transaction = db.begin().await.unwrap();
    let connection: &mut PgConnection = &mut transaction;
    let refusal = sqlx::raw_sql(statement).execute(connection).await.unwrap_err();
    refusal.as_database_error().unwrap().code().unwrap().into_owned()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_relay_reads_messages_and_writes_how_far_they_got_and_nothing_else(db: PgPool) {
    let outbox = Outbox::of(db);
    for statement in [
        "insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
            values ('order', 'o', 1, 'ordersaga.order.placed.v1', '{}')",
        "update outbox.messages set payload = '{}'",
        "delete from outbox.messages",
        "delete from outbox.sinks",
        "update outbox.sinks set paused_at = null",
        "delete from outbox.progress",
        "update outbox.origin set cluster = 1",
        "insert into outbox.marks (had_before) values ('9000000000')",
        "insert into outbox.interventions (sink, action, done_by, why) values ('a', 'skip', 'b', 'c')",
        "select outbox.pause('kafka', true, 'relay', 'by hand')",
        "select outbox.decide('kafka', null, 'skip', 'relay', 'by hand')",
        "select outbox.remove('kafka', 'relay', 'by hand')",
        "select outbox.replay_all('kafka', 'relay', 'by hand')",
        "select outbox.rebase(false)",
        "select outbox.sweep('0 s', 1)",
        "update orders.orders set version = 1",
        "delete from orders.order_events",
        "select * from orders.step_keys",
        "select method from payments.methods",
        "select * from ledger.entries",
    ] {
        assert_eq!(refusal(&outbox.db, statement).await, "42501", "{statement}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sink_is_removed_only_when_nobody_reads_for_it(db: PgPool) {
    let outbox = Outbox::of(db);
    let reader: Reader = outbox.reader(1, "kafka", 10, Receiver::new()).await;
    let removed = async || {
        sqlx::query_scalar!(
            r#"select outbox.remove('kafka', 'eve', 'the broker is gone') as "what!""#
        )
        .fetch_one(&outbox.owner)
        .await
        .unwrap()
    };
    assert_eq!(removed().await, "read");
    relay::leases::leave(&outbox.db, None, Uuid::from_u128(1)).await.unwrap();
    assert_eq!(removed().await, "removed");
    assert_eq!(removed().await, "unknown");
    drop(reader);
}
