//! Cells of the sinks for customers: the database fails before and after the effect, the mail
//! server rejects, cuts or hangs, and a transaction that has taken a number fails.
//!
//! Each cell has its own sold order, and its own mail server.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use domain::{OrderId, OrderStatus};
use futures::FutureExt;
use relay::mail::{Looked, Sender};
use relay::{Message, Sink as _, Verdict};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::cell::{Course, Trouble};
use crate::mail_server::{MailServer, Trouble as AtServer};
use crate::run::{Manner, order_on};
use crate::support::{Shop, ended};
use crate::told::{A_MINUTE, as_relay, documents, invoices, mail_sink, messages, send_all, sender};

/// The domain of these cells' mails, which distinguishes them from those of other cells.
const DOMAIN: &str = "cells.example";

/// The sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Mail,
    Invoice,
}

impl Row {
    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Invoice => "invoice",
        }
    }
}

/// A cell, and what is wrong with it, if anything.
pub struct SinkOutcome {
    pub row: Row,
    pub trouble: Trouble,
    pub complaint: Option<String>,
}

impl fmt::Display for SinkOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.row.name(), self.trouble.name())
    }
}

const CELLS: [(Row, Trouble); 9] = [
    (Row::Mail, Trouble::Fails),
    (Row::Mail, Trouble::LosesAnswer),
    (Row::Mail, Trouble::AsksForAPause),
    (Row::Mail, Trouble::IsRefused),
    (Row::Mail, Trouble::LosesItsConnection),
    (Row::Mail, Trouble::Hangs),
    (Row::Invoice, Trouble::Fails),
    (Row::Invoice, Trouble::LosesAnswer),
    (Row::Invoice, Trouble::Breaks),
];

/// Runs the cells one after the other: a fault of the database affects all of them.
pub async fn run(shop: &Shop, only: Option<&str>, manner: Manner) -> Vec<SinkOutcome> {
    let mut outcomes = Vec::new();
    for (row, trouble) in CELLS {
        let mut outcome = SinkOutcome { row, trouble, complaint: None };
        if only.is_some_and(|only| !outcome.to_string().contains(only)) {
            continue;
        }
        let through = timeout(manner.give_up_after, Box::pin(through(shop, row, trouble)));
        outcome.complaint = match AssertUnwindSafe(through).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(_elapsed)) => Some("does not come to an end".to_owned()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                Some(text.unwrap_or_else(|| "panicked".to_owned()))
            }
        };
        outcomes.push(outcome);
    }
    outcomes
}

async fn through(shop: &Shop, row: Row, trouble: Trouble) {
    let order = order_on(shop, Course::Ships);
    let status = ended(&shop.place(&order).await).await;
    assert_eq!(status, OrderStatus::Completed);
    let messages = messages(&shop.db, order.order_id).await;
    match row {
        Row::Mail => Post::open(shop, order.order_id, messages).await.goes(trouble).await,
        Row::Invoice => issues(&shop.db, order.order_id, &messages, trouble).await,
    }
}

/// Does something while the database rejects all new rows of a table that do not satisfy a
/// condition.
async fn while_only<T>(db: &PgPool, table: &str, are: &str, done: impl Future<Output = T>) -> T {
    let alter = async |change: &str| {
        let statement = AssertSqlSafe(format!("alter table {table} {change}"));
        sqlx::query(statement).execute(db).await.unwrap();
    };
    alter(&format!("add constraint for_now check ({are}) not valid")).await;
    let done = done.await;
    alter("drop constraint for_now").await;
    done
}

/// An unavailable database.
async fn away(db: &PgPool) -> PgPool {
    let away = as_relay(db);
    away.close().await;
    away
}

/// An order whose mails go through a faulty server: the confirmation is sent at least once, the
/// mail about its parcel at most once.
struct Post {
    db: PgPool,
    order: OrderId,
    messages: Vec<Message>,
    server: MailServer,
    sender: Sender,
}

impl Post {
    async fn open(shop: &Shop, order: OrderId, messages: Vec<Message>) -> Self {
        let server = MailServer::start().await;
        let sender = sender(&shop.db, server.port, DOMAIN, A_MINUTE);
        Self { db: shop.db.clone(), order, messages, server, sender }
    }

    async fn goes(self, trouble: Trouble) {
        let once = [("confirmed", "sent", 1), ("shipped", "sent", 1)];
        let lost = [("confirmed", "sent", 2), ("shipped", "parked", 1)];
        if trouble == Trouble::Fails {
            let verdicts = mail_sink(away(&self.db).await, DOMAIN).deliver(&self.messages).await;
            let [Verdict::Unavailable { .. }, behind @ ..] = &verdicts[..] else {
                unreachable!("{verdicts:?}")
            };
            assert!(behind.iter().all(|it| *it == Verdict::NotTried), "{verdicts:?}");
        }
        // The first answer is lost, so the messages are delivered again by another process.
        for _ in 0..2 {
            let verdicts = mail_sink(as_relay(&self.db), DOMAIN).deliver(&self.messages).await;
            assert!(verdicts.contains(&Verdict::Delivered), "{verdicts:?}");
        }
        let refused = [AtServer::Recipient("550 5.1.1 nobody")];
        let put_off = [AtServer::Recipient("451 4.2.1 later")];
        let cut = [AtServer::CutAfterMail, AtServer::None, AtServer::CutAfterMail];
        if trouble == Trouble::Fails {
            self.sends_while_only("state <> 'sending'").await;
            self.stands(&[("confirmed", "queued", 0), ("shipped", "queued", 0)]).await;
            self.ends_as(&once).await;
        } else if trouble == Trouble::LosesAnswer {
            self.sends_while_only("state <> 'sent'").await;
            self.sends_while_only("template <> 'shipped' or state <> 'sent'").await;
            self.ends_as(&lost).await;
        } else if trouble == Trouble::AsksForAPause {
            self.server.next(&put_off);
            assert_eq!(send_all(&self.sender).await.unwrap(), Looked::Nothing);
            self.stands(&[("confirmed", "queued", 0), ("shipped", "queued", 0)]).await;
            self.ends_as(&once).await;
        } else if trouble == Trouble::IsRefused {
            self.server.next(&refused);
            self.ends_as(&[("confirmed", "parked", 0), ("shipped", "sent", 1)]).await;
        } else if trouble == Trouble::LosesItsConnection {
            self.server.next(&cut);
            assert_eq!(send_all(&self.sender).await.unwrap(), Looked::Nothing);
            self.stands(&[("confirmed", "queued", 1), ("shipped", "queued", 0)]).await;
            self.ends_as(&lost).await;
        } else {
            assert_eq!(trouble, Trouble::Hangs);
            // It accepts the connection, and never answers.
            let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = silent.local_addr().unwrap().port();
            let to_silent = sender(&self.db, port, DOMAIN, Duration::from_secs(5));
            let looked = send_all(&to_silent).await.unwrap();
            assert!(matches!(looked, Looked::Rest(_)), "{looked:?}");
            self.stands(&[("confirmed", "queued", 0), ("shipped", "queued", 0)]).await;
            self.ends_as(&once).await;
        }
    }

    /// Sends until the database rejects the result of a mail.
    async fn sends_while_only(&self, notifications_are: &str) {
        self.time_passes().await;
        let sending = send_all(&self.sender);
        let sent = while_only(&self.db, "mail.notifications", notifications_are, sending).await;
        assert!(sent.is_err(), "{sent:?}");
    }

    /// Makes all waiting times expire.
    async fn time_passes(&self) {
        sqlx::query("update mail.notifications set next_try_at = now() where order_id = $1")
            .bind(self.order.uuid())
            .execute(&self.db)
            .await
            .unwrap();
    }

    async fn ends_as(&self, expected: &[(&str, &str, usize)]) {
        self.time_passes().await;
        assert_eq!(send_all(&self.sender).await.unwrap(), Looked::Nothing);
        self.stands(expected).await;
    }

    /// Asserts the state of both mails, and how often the server has them.
    async fn stands(&self, expected: &[(&str, &str, usize)]) {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "select template, state, format('<%s>', message_id) from mail.notifications
             where order_id = $1 and template in ('confirmed', 'shipped')
             order by notification_id",
        )
        .bind(self.order.uuid())
        .fetch_all(&self.db)
        .await
        .unwrap();
        let arrived: Vec<String> =
            self.server.kept().iter().flat_map(|mail| mail.headers("Message-ID")).collect();
        let of = |id: &str| arrived.iter().filter(|arrived| *arrived == id).count();
        let found: Vec<(&str, &str, usize)> = rows
            .iter()
            .map(|(template, state, id)| (template.as_str(), state.as_str(), of(id)))
            .collect();
        assert_eq!(found, expected);
        let all: usize = expected.iter().map(|(_, _, times)| times).sum();
        assert_eq!(arrived.len(), all, "{arrived:?}");
    }
}

/// The invoice of a sold order.
async fn issues(db: &PgPool, order: OrderId, messages: &[Message], trouble: Trouble) {
    let before = numbers_taken(db).await;
    let sink = invoices(as_relay(db), "shipment");
    if trouble == Trouble::Fails {
        let verdicts = invoices(away(db).await, "shipment").deliver(messages).await;
        let is_away = |it: &Verdict| matches!(it, Verdict::Unavailable { .. });
        assert!(verdicts.iter().any(is_away), "{verdicts:?}");
    } else if trouble == Trouble::LosesAnswer {
        let verdicts = sink.deliver(messages).await;
        assert!(verdicts.contains(&Verdict::Delivered), "{verdicts:?}");
    } else {
        assert_eq!(trouble, Trouble::Breaks);
        // The number was taken in the previous statement.
        let are = format!("order_id <> '{order}'");
        let verdicts = while_only(db, "invoices.invoices", &are, sink.deliver(messages)).await;
        let is_refused = |it: &Verdict| matches!(it, Verdict::Refused { .. });
        assert!(verdicts.iter().any(is_refused), "{verdicts:?}");
    }
    if trouble != Trouble::LosesAnswer {
        assert_eq!(numbers_taken(db).await, before);
        assert!(documents(db, order).await.is_empty());
    }
    let verdicts = invoices(as_relay(db), "shipment").deliver(messages).await;
    assert!(verdicts.contains(&Verdict::Delivered), "{verdicts:?}");
    let issued = documents(db, order).await;
    let kinds: Vec<_> = issued.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["invoice"]);
    assert_eq!(numbers_taken(db).await, before + 1);
}

/// The numbers taken in all series.
async fn numbers_taken(db: &PgPool) -> i64 {
    let taken = "select coalesce(sum(next_number - 1), 0)::bigint from invoices.series";
    sqlx::query_scalar(taken).fetch_one(db).await.unwrap()
}
