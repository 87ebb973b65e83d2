//! Attacks by SQL: as worker and starter, and, where the guarantee includes the owner of the
//! schemas, as the owner. The owner can remove the guards themselves with `alter table`; that is
//! why neither program is the owner.

use sqlx::{Connection, PgConnection};

use super::{Books, LedgerError, Tried, Verdict};

/// The roles that try.
#[derive(Clone, Copy, Debug)]
enum By {
    /// Worker and starter.
    Programs,
    /// Worker and starter, and the owner too.
    All,
}

struct Attempt {
    by: By,
    what: &'static str,
    sql: String,
}

pub(super) async fn try_all(books: &Books) -> Result<Vec<Tried>, LedgerError> {
    let mut tried = Vec::new();
    for Attempt { by, what, sql } in attempts() {
        tried.push(attempted(books, "worker", &books.worker_url, what, &sql).await?);
        tried.push(attempted(books, "starter", &books.starter_url, what, &sql).await?);
        if matches!(by, By::All) {
            tried.push(attempted(books, "owner", &books.owner_url, what, &sql).await?);
        }
    }
    Ok(tried)
}

/// On a separate connection, so that an attempt leaves no state for the next.
async fn attempted(
    books: &Books,
    by: &'static str,
    url: &str,
    what: &str,
    sql: &str,
) -> Result<Tried, LedgerError> {
    let before = books.fingerprint().await?;
    let mut connection = PgConnection::connect(url).await?;
    let whole = format!("begin;\n{sql};\ncommit;");
    let verdict = match sqlx::raw_sql(sqlx::AssertSqlSafe(whole)).execute(&mut connection).await {
        Ok(_) => books.judged(&before).await?,
        Err(sqlx::Error::Database(error)) => {
            let code = error.code().unwrap_or_default();
            match (code.as_ref(), error.constraint()) {
                ("42501", _) => Verdict::Refused(format!("rights: {}", error.message())),
                // An attempt that names something nonexistent would fail on any books.
                (code, _) if code.starts_with("42") => Verdict::Pointless(format!(
                    "the attempt is invalid on any books: {}",
                    error.message()
                )),
                (_, Some(constraint)) => {
                    Verdict::Refused(format!("{constraint}: {}", error.message()))
                }
                ("23001", None) => Verdict::Refused(format!("trigger: {}", error.message())),
                (_, None) => Verdict::Refused(error.message().to_owned()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    connection.close().await?;
    Ok(Tried { by, what: what.to_owned(), verdict })
}

/// A complete transaction with these entries, as `(line, account, side, amount, currency)`.
fn booking(entries: &str) -> String {
    transaction("insert into ledger.transactions (key) values ('chaos')", entries)
}

fn transaction(head: &str, entries: &str) -> String {
    format!(
        "with booked as ({head} returning transaction_id)
         insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         select transaction_id, line, account, side, amount, currency
         from booked, (values {entries}) as entry (line, account, side, amount, currency)"
    )
}

fn of_one_amount(amount: &str, currency: &str) -> String {
    booking(&format!(
        "(1, 'sales', 'credit', {amount}, '{currency}'),
         (2, 'refunds', 'debit', {amount}, '{currency}')"
    ))
}

/// An earlier transaction.
const OLD: &str =
    "(select min(transaction_id) from ledger.transactions where order_id is not null)";

fn attempts() -> Vec<Attempt> {
    let groups = [rewriting(), unbalancing(), afterthoughts(), reversing(), disarming(), record()];
    groups.into_iter().flatten().collect()
}

fn by_all(what: &'static str, sql: impl Into<String>) -> Attempt {
    Attempt { by: By::All, what, sql: sql.into() }
}

fn by_programs(what: &'static str, sql: impl Into<String>) -> Attempt {
    Attempt { by: By::Programs, what, sql: sql.into() }
}

fn rewriting() -> Vec<Attempt> {
    vec![
        by_all("double every amount", "update ledger.entries set amount = amount * 2"),
        by_all(
            "swap the sides of every entry",
            "update ledger.entries set side = case side when 'debit' then 'credit' else 'debit' end",
        ),
        by_all(
            "move every entry to another account",
            "update ledger.entries set account = 'refunds'",
        ),
        by_all("delete the entries", "delete from ledger.entries"),
        by_all("truncate the entries", "truncate ledger.entries"),
        by_all(
            "hand the transactions to no order",
            "update ledger.transactions set order_id = null",
        ),
        by_all(
            "backdate the transactions",
            "update ledger.transactions set booked_at = booked_at - interval '1 year'",
        ),
        by_all("delete the transactions", "delete from ledger.transactions"),
        by_all(
            "truncate the transactions and all that hangs on them",
            "truncate ledger.transactions cascade",
        ),
        by_all(
            "change an entry by the way of an insert",
            "insert into ledger.entries select * from ledger.entries on conflict (transaction_id, line) do update set amount = 1",
        ),
        by_all(
            "change the entries by merge",
            "merge into ledger.entries e using ledger.entries f on e.transaction_id = f.transaction_id and e.line = f.line when matched then update set amount = 1",
        ),
        by_all(
            "delete the entries by merge",
            "merge into ledger.entries e using ledger.entries f on e.transaction_id = f.transaction_id and e.line = f.line when matched then delete",
        ),
        by_all(
            "turn an account's normal side",
            "update ledger.accounts set normal_side = 'debit' where account = 'sales'",
        ),
        by_all(
            "rename an account",
            "update ledger.accounts set account = 'pocket' where account = 'sales'",
        ),
        by_all("delete an account", "delete from ledger.accounts where account = 'sales'"),
        by_all("truncate the accounts", "truncate ledger.accounts cascade"),
        by_all("change the sums of closed books", "update ledger.closings set sums = '{}'"),
        by_all("truncate the closings", "truncate ledger.closings"),
        by_all(
            "close the books beyond the last transaction",
            "insert into ledger.closings (through) values (9000000000000000000)",
        ),
        by_programs(
            "declare the books closed",
            "select setval('ledger.final_through', 9000000000000000000)",
        ),
        by_programs("delete a closing", "delete from ledger.closings"),
        by_programs("open an account", "insert into ledger.accounts values ('pocket', 'debit')"),
    ]
}

fn unbalancing() -> Vec<Attempt> {
    let one_sided = booking("(1, 'sales', 'credit', 5, 'GBP')");
    let differing =
        booking("(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 4.99, 'GBP')");
    vec![
        by_all("book one side only", one_sided.clone()),
        by_all("book a penny less on one side", differing.clone()),
        by_all("book pounds against euros", booking("(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'EUR')")),
        by_all("balance pounds with euros over four entries", booking(
            "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 3, 'GBP'),
             (3, 'sales', 'credit', 3, 'EUR'), (4, 'refunds', 'debit', 5, 'EUR')")),
        by_all("book a transaction without entries", "insert into ledger.transactions (key) values ('chaos')"),
        by_all("book a negative amount on both sides", of_one_amount("-5", "GBP")),
        by_all("book nothing on both sides", of_one_amount("0", "GBP")),
        by_all("book NaN on both sides", of_one_amount("'NaN'::numeric", "GBP")),
        by_all("book infinity on both sides", of_one_amount("'Infinity'::numeric", "GBP")),
        by_all("book in gbp, beside GBP", of_one_amount("5", "gbp")),
        by_all("book to an account that does not exist", booking("(1, 'pocket', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')")),
        by_all("book on a third side", booking("(1, 'sales', 'above', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')")),
        by_all("put the check off, then book one side", format!("set constraints all deferred; {one_sided}")),
        by_all("have the check early, then add one side", format!(
            "set constraints all immediate; {};
             insert into ledger.entries values ((select transaction_id from ledger.transactions where key = 'chaos'), 3, 'sales', 'credit', 1, 'GBP')",
            of_one_amount("5", "GBP"))),
        by_all("have the transaction's check early, then add one side", format!(
            "set constraints ledger.transactions_balanced immediate; {};
             insert into ledger.entries values ((select transaction_id from ledger.transactions where key = 'chaos'), 3, 'sales', 'credit', 1, 'GBP')",
            of_one_amount("5", "GBP"))),
        by_all("book both sides and roll one of them back", "insert into ledger.transactions (key) values ('chaos');
             insert into ledger.entries select transaction_id, 1, 'sales', 'credit', 5, 'GBP' from ledger.transactions where key = 'chaos';
             savepoint half;
             insert into ledger.entries select transaction_id, 2, 'refunds', 'debit', 5, 'GBP' from ledger.transactions where key = 'chaos';
             rollback to savepoint half"),
        by_all("book one side and swallow the error", format!("do $do$ begin {differing}; exception when others then null; end $do$")),
        by_all("book one side from a function of one's own", format!("create function pg_temp.book() returns void language sql as $do$ {one_sided} $do$; select pg_temp.book()")),
    ]
}

fn afterthoughts() -> Vec<Attempt> {
    vec![
        by_all("add one entry to a transaction of before", format!("insert into ledger.entries values ({OLD}, 90, 'sales', 'credit', 5, 'GBP')")),
        by_all("add a balanced pair to a transaction of before", format!(
            "insert into ledger.entries values ({OLD}, 90, 'sales', 'credit', 5, 'GBP'), ({OLD}, 91, 'refunds', 'debit', 5, 'GBP')")),
        by_all("claim that a transaction of before is this one", format!(
            "insert into ledger.transactions (transaction_id, key, booked_in) overriding system value
             select {OLD}, 'chaos', pg_current_xact_id()")),
        by_all("book today as of yesterday", transaction(
            "insert into ledger.transactions (key, booked_at) values ('chaos', now() - interval '1 day')",
            "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')")),
        by_all("leave a transaction open for later", transaction(
            "insert into ledger.transactions (key, booked_in) values ('chaos', '9000000000000')",
            "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')")),
        by_all("book in closed books, under an earlier id", format!(
            "select ledger.close_books(1000000); {}",
            transaction(
                "insert into ledger.transactions (transaction_id, key) overriding system value
                 values (0, 'chaos')",
                "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')",
            ))),
        by_programs("book again what the warehouse has moved", "select ledger.book_movement(movement_id) from inventory.movements"),
        by_all("book twice under one key", transaction(
            "insert into ledger.transactions (key) select min(key) from ledger.transactions",
            "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')")),
    ]
}

fn reversing() -> Vec<Attempt> {
    let again = "insert into ledger.transactions (key, reverses)
         select 'chaos', min(reverses) from ledger.transactions";
    let fresh = "insert into ledger.transactions (key, reverses)
         select 'chaos', min(transaction_id) from ledger.transactions
         where key like '%:post-entries:%' and transaction_id not in
             (select reverses from ledger.transactions where reverses is not null)";
    vec![
        by_all(
            "reverse twice",
            transaction(
                again,
                "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')",
            ),
        ),
        by_all(
            "reverse a penny of what was booked",
            transaction(
                fresh,
                "(1, 'customer-deposits', 'debit', 0.01, 'GBP'), (2, 'payment-clearing', 'credit', 0.01, 'GBP')",
            ),
        ),
        by_all(
            "reverse to another account",
            transaction(
                &format!("{fresh} and true"),
                "(1, 'sales', 'debit', 5, 'GBP'), (2, 'payment-clearing', 'credit', 5, 'GBP')",
            ),
        ),
        by_all(
            "reverse what was never booked",
            transaction(
                "insert into ledger.transactions (key, reverses) values ('chaos', 9000000000)",
                "(1, 'sales', 'credit', 5, 'GBP'), (2, 'refunds', 'debit', 5, 'GBP')",
            ),
        ),
    ]
}

/// Attempts to remove the guards. An owner may do most of this; the programs are not owners.
fn disarming() -> Vec<Attempt> {
    let update = "update ledger.entries set amount = amount * 2";
    vec![
        by_all(
            "switch to a replica's role, where no trigger fires",
            format!("set session_replication_role = replica; {update}"),
        ),
        by_all(
            "disable the triggers in the system's own table",
            "update pg_catalog.pg_trigger set tgenabled = 'D'",
        ),
        by_all("make oneself a superuser", "alter role current_user superuser"),
        by_programs(
            "disable the triggers",
            format!("alter table ledger.entries disable trigger all; {update}"),
        ),
        by_programs("drop a trigger", "drop trigger entries_append_only on ledger.entries"),
        by_programs(
            "drop a constraint",
            "alter table ledger.entries drop constraint entries_amount_positive",
        ),
        by_programs(
            "give the amount another meaning",
            "alter table ledger.entries alter column amount type integer",
        ),
        by_programs("drop the entries' table", "drop table ledger.entries"),
        by_programs(
            "replace the guard by one that nods",
            "create or replace function ledger.refuse_unbalanced() returns trigger language plpgsql as 'begin return null; end'",
        ),
        by_programs(
            "put a trigger before the guard",
            "create trigger nod before insert on ledger.entries for each row execute function ledger.refuse_change()",
        ),
        by_programs(
            "put a rule before the guard",
            "create rule nod as on insert to ledger.entries do instead nothing",
        ),
        by_programs("take the owner's role", format!("set role ordersaga_owner; {update}")),
        by_programs("take the tables over", "alter table ledger.entries owner to current_user"),
        by_programs(
            "grant oneself the right",
            format!("grant update on ledger.entries to current_user; {update}"),
        ),
        by_programs(
            "turn the numbering back",
            "select setval(pg_get_serial_sequence('ledger.transactions', 'transaction_id'), 1, false)",
        ),
        by_programs("shadow the books in a schema of one's own", "create schema shadow"),
        by_programs(
            "shadow the comparison that the guard makes",
            "create function public.numeric_ne(numeric, numeric) returns boolean language sql as 'select false'",
        ),
        by_programs("load entries past the guard", "copy ledger.entries from program 'echo'"),
    ]
}

fn record() -> Vec<Attempt> {
    vec![
        by_all("change what happened to an order", "update orders.order_events set data = '{}'"),
        by_all("change when it happened", "update orders.order_events set occurred_at = now()"),
        by_all("delete what happened to an order", "delete from orders.order_events"),
        by_all("truncate what happened to all orders", "truncate orders.order_events"),
        by_all("change it by the way of an insert", "insert into orders.order_events (order_id, sequence, type, data, occurred_at)
             select order_id, sequence, type, data, occurred_at from orders.order_events
             on conflict (order_id, sequence) do update set data = '{}'"),
        by_all("put another event in an event's place", "insert into orders.order_events (order_id, sequence, type, data, occurred_at)
             select order_id, sequence, 'order.shipped', '{}', now() from orders.order_events limit 1"),
        by_programs("tell the orders anew, without what happened", "select orders.repair(order_id, 'eve', 'by hand') from orders.orders"),
    ]
}
