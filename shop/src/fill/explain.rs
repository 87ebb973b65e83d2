//! Tests that no query in the code reads more of a table because there are more orders.
//!
//! `.sqlx` contains every query that is checked against the schema, so the list is complete. Each
//! is planned for a shop of a million orders, and no plan may scan a whole table that grows with
//! them.
//!
//! Two thousand orders are written, and Postgres' statistics are set to five hundred times as many
//! rows: it estimates from the rows per page in its catalogue, and plans as for a million orders.
//! Tables that are not filled get plausible rows, in copies without constraints, because empty
//! tables are always scanned completely. A plan does not show what a database function does;
//! functions are called, and their reads are counted.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    reason = "a test counts little"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use runtime::schema::MIGRATIONS;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::{Extent, filled};

/// Tables that do not grow with the orders, with the reason.
const BOUNDED: &[(&str, &str)] = &[
    ("bank.files", "a file a day"),
    ("bank.lists", "a list of payments a day"),
    ("catalog.discount_codes", "the shop's own"),
    ("catalog.products", "the articles"),
    ("catalog.shipping_rates", "the countries"),
    ("catalog.tax_rates", "the countries"),
    ("finance.payouts", "one a day"),
    ("finance.runs", "one a day"),
    ("fraud.activations", "what persons have done"),
    ("fraud.entries", "what persons have listed"),
    ("fraud.rule_sets", "what persons have written"),
    ("fraud.secrets", "one"),
    ("identity.clients", "the programs that call"),
    ("identity.sign_in_attempts", "the accounts of the last minutes; swept"),
    ("identity.signing_keys", "a few"),
    ("inbox.feeds", "one a provider"),
    ("inventory.stock", "the articles"),
    ("invoices.series", "a few a year"),
    ("invoices.tax_rates", "the countries"),
    ("ledger.accounts", "fifteen"),
    ("ledger.closings", "the last one"),
    ("operations.party_standings", "one a party and worker"),
    ("operations.paused_queues", "one a queue"),
    ("operations.stopped_parties", "one a party"),
    ("orders.launches", "what waits at this moment"),
    ("orders.refund_launches", "what waits at this moment"),
    ("outbox.interventions", "what persons have done"),
    ("outbox.marks", "one a minute, for the days that messages are kept; swept"),
    ("outbox.origin", "one"),
    ("outbox.parked", "what waits for a receiver or a person at this moment"),
    ("outbox.progress", "eight a sink"),
    ("outbox.readers", "the running relays"),
    ("outbox.sinks", "the receivers"),
    ("public._sqlx_migrations", "the releases"),
    ("sandbox_carrier.behaviours", "what a test has asked for"),
    ("sandbox_carrier.late_requests", "what a test has asked for"),
    ("sandbox_provider.behaviours", "what a test has asked for"),
    ("sandbox_provider.late_requests", "what a test has asked for"),
    ("sandbox_provider.outages", "what a test has asked for"),
    ("sandbox_provider.payouts", "one a day"),
    ("sandbox_provider.repairs", "what a test has asked for"),
    ("webhooks.endpoints", "the receivers"),
    ("webhooks.secrets", "the receivers"),
    ("webhooks.sends", "what waits for a receiver at this moment"),
];

/// A query that may scan a whole table.
struct Excused {
    /// The file or folder of the query.
    file: &'static str,
    /// A part of its text; empty for all queries in the file.
    says: &'static str,
    /// The reason.
    why: &'static str,
}

const EXCUSED: &[Excused] = &[
    Excused {
        file: "worker/src/prove",
        says: "",
        why: "`ordersaga prove` proves what it has read, and is asked for by a person",
    },
    Excused {
        file: "worker/src/export/books.rs",
        says: "",
        why: "an export of the books holds all of them",
    },
    Excused {
        file: "starter-api/src/app/ledger/sums.rs",
        says: "from ledger.entries",
        why: "goes by the key from the last closing on, which is about a minute old",
    },
    Excused {
        file: "starter-api/src/app/ledger/transactions.rs",
        says: "",
        why: "goes by the key from where it is on, and stops when the page is full; a filter by account \
              that no transaction has is bounded by the range of days that is asked for",
    },
    Excused {
        file: "activities/src/payment/bank_transfer/records.rs",
        says: "",
        why: "goes by the key, and stops when the page is full",
    },
];

/// The queries of `ordersaga prove --hours` that may scan a whole table.
const EXCUSED_OF_RECENT: &[Excused] = &[
    Excused {
        file: "worker/src/prove/books.rs",
        says: "from ledger.closings join ledger.entries",
        why: LEFT_OUT,
    },
    Excused {
        file: "worker/src/prove/books.rs",
        says: "from finance.balance_transactions",
        why: LEFT_OUT,
    },
    Excused {
        file: "worker/src/prove/books.rs",
        says: "from bank.entries where is_credit",
        why: LEFT_OUT,
    },
    Excused {
        file: "worker/src/prove/parties.rs",
        says: "on_hand * unit_cost as goods",
        why: LEFT_OUT,
    },
    Excused { file: "worker/src/prove/stock.rs", says: "from inventory.movements", why: LEFT_OUT },
    Excused {
        file: "worker/src/prove/parties.rs",
        says: "from sandbox_carrier.shipments",
        why: "the sandbox stands for a carrier, whose records are not in this database",
    },
    Excused {
        file: "worker/src/prove/scope.rs",
        says: "where created_at >=",
        why: "goes by a block range index, and the few messages of this test are one block range",
    },
    Excused {
        file: "worker/src/prove/money.rs",
        says: "exists (select from sandbox_provider.payments)",
        why: "stops at the first row",
    },
    Excused {
        file: "worker/src/prove/disputes.rs",
        says: "or is_open or asked_at is not null",
        why: "goes by three indexes, and an operator is asked about each dispute of this test",
    },
    Excused {
        file: "worker/src/prove/logs.rs",
        says: "",
        why: "logs are searched for every customer, if they are named",
    },
    Excused {
        file: "worker/src/prove/consumed.rs",
        says: "",
        why: "a consumer's inbox holds the events of all orders, if it is named",
    },
];

/// The reason why a recent proof may contain a query that scans a whole table.
const LEFT_OUT: &str = "a recent proof leaves it out";

/// Database functions used in queries, with a call that shows what they read.
const CALLED: &[(&str, &str)] = &[
    ("fraud.fingerprints_of", "select * from fraud.fingerprints_of(ORDER)"),
    ("inbox.sweep", "select inbox.sweep('90 days', 5000)"),
    ("inventory.sell", "select inventory.sell(ORDER || ':reserve-stock:1')"),
    ("ledger.close_books", "select ledger.close_books(25000)"),
    ("operations.sweep", "select * from operations.sweep('7 days', '90 days', 5000)"),
    ("orders.cancel_before_launch", "select orders.cancel_before_launch(ORDER, 'changed mind')"),
    ("orders.deliver", "select * from orders.deliver(ORDER, null, 'web-shop')"),
    ("orders.differences", "select * from orders.differences(ORDER)"),
    (
        "orders.place",
        "select * from orders.place(md5('new')::uuid, 'v1:new', EVENT, 'tok', null, '0')",
    ),
    (
        "orders.place_many",
        "select * from orders.place_many(
             array[md5('new')::uuid], array['v1:new'], array[EVENT], array['tok'], array[null::jsonb],
             array[interval '0']
         )",
    ),
    ("orders.record", "select orders.record(ORDER, 'order.delivered', '{}')"),
    ("orders.repair", "select orders.repair(ORDER, 'a person', 'to see')"),
    ("orders.take_step", "select orders.take_step(ORDER, 'ship-order', 1, '{}')"),
    ("orders.take_unbegun_step", "select orders.take_unbegun_step(ORDER, 'ship-order', 1, '{}')"),
    ("outbox.is_restored", "select outbox.is_restored()"),
    ("outbox.standings", "select * from outbox.standings()"),
    ("payments.replace_method", "select payments.replace_method(ORDER, 'tok', 'again')"),
    ("webhooks.sweep", "select webhooks.sweep(30, 5000)"),
];

/// Database functions that are not called here, with the reason.
const UNCALLED: &[(&str, &str)] = &[
    ("bank.book", "writes by keys that it is given"),
    ("finance.compared", "reads what one run has seen, by its number"),
    ("finance.compared_payouts", "reads what one run has seen, by its number"),
    ("finance.settle_difference", "one row by its key"),
    ("fraud.activate_rule_set", "a person's decision about a bounded table"),
    ("fraud.add_entry", "a person's decision about a bounded table"),
    ("fraud.add_rule_set", "a person's decision about a bounded table"),
    ("fraud.conclude_review", "one row by its key"),
    ("fraud.count_order", "by keys, within the window that a rule names"),
    ("fraud.decide", "one row by its key"),
    ("fraud.withdraw", "by the order"),
    ("inbox.dismiss", "one row by its key"),
    ("ledger.book_movement", "one row by its key"),
    ("mail.retry", "one row by its key"),
    ("mail.skip", "one row by its key"),
    ("mail.unsubscribe", "one row by its key"),
    ("orders.note_attention", "the order's row, and `orders.record`"),
    ("orders.note_end", "the order's row, and `orders.record`"),
    ("orders.note_resolved", "the order's row, and `orders.record`"),
    ("orders.note_unwinding", "the order's row, and `orders.record`"),
    ("orders.record_outcome", "`orders.record`"),
    ("outbox.decide", "a bounded table"),
    ("outbox.pause", "a bounded table"),
    ("outbox.read", "reads with sequential scans switched off, which its own tests look at"),
    ("outbox.rebase", "makes all that is kept readable in another cluster, once"),
    ("outbox.remove", "a bounded table"),
    ("outbox.replay_all", "a bounded table"),
    ("outbox.take_shards", "a bounded table"),
    ("outbox.waiting", "part of `outbox.standings` and of the sweep"),
    ("payments.record_outside_refund", "by the payment's reference"),
    ("payments.release_dispute", "by the order"),
    ("payments.request_refund", "by the order"),
    ("payments.reverse_refund", "by the order"),
    ("webhooks.change_endpoint", "a bounded table"),
    ("webhooks.create_endpoint", "a bounded table"),
    ("webhooks.disable", "a bounded table"),
    (
        "webhooks.redeliver",
        "the range of messages that an operator asks for, of those that are kept",
    ),
    ("webhooks.remove_endpoint", "a bounded table"),
    ("webhooks.rotate_secret", "a bounded table"),
    ("webhooks.try_out", "a bounded table"),
];

/// Files whose queries are built at runtime, and so are missing in `.sqlx`.
const PUT_TOGETHER: &[(&str, &str)] = &[
    ("runtime/src/database/watch.rs", "the database's clock"),
    ("runtime/src/schema.rs", "the schema itself, before it is known"),
];

/// A query, and the source files that contain it; no file if a macro generates it.
struct Query {
    text: String,
    /// The types of its parameters, by sqlx's names.
    parameters: Vec<String>,
    files: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files below a folder, with path and text.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Files with their texts.
type Sources = Vec<(String, String)>;

/// The programs' sources; and those of tests, whose queries are not restricted.
fn all_sources() -> (Sources, Sources) {
    let (mut programs, mut tests) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root()).unwrap() {
        let folder = entry.unwrap().path();
        for (part, found) in [("src", &mut programs), ("tests", &mut tests)] {
            if folder.join(part).is_dir()
                && !folder.ends_with("shop")
                && !folder.ends_with("testkit")
            {
                sources(&folder.join(part), found);
            }
        }
    }
    (programs, tests)
}

/// Normalises a text for comparison: joins continued literals, and collapses white space.
fn plain(text: &str) -> String {
    let unescaped = text.replace("\\\"", "\"");
    let mut joined = String::with_capacity(unescaped.len());
    for line in unescaped.lines() {
        if let Some(continued) = line.strip_suffix('\\') {
            joined.push_str(continued);
        } else {
            joined.push_str(line);
            joined.push(' ');
        }
    }
    let words: Vec<_> = joined.split_whitespace().collect();
    words.join(" ").replace("\" ", "\"").replace(" \"", "\"")
}

/// All queries of the programs.
fn queries() -> Vec<Query> {
    let (programs, tests) = all_sources();
    let plain_of = |sources: Vec<(String, String)>| -> Vec<(String, String)> {
        sources.into_iter().map(|(name, text)| (name, plain(&text))).collect()
    };
    let (programs, tests) = (plain_of(programs), plain_of(tests));
    let mut queries = Vec::new();
    for entry in fs::read_dir(root().join(".sqlx")).unwrap() {
        let described = fs::read_to_string(entry.unwrap().path()).unwrap();
        let described: Value = serde_json::from_str(&described).unwrap();
        let text = described["query"].as_str().unwrap().to_owned();
        let parameters = described["describe"]["parameters"]["Left"].as_array();
        let parameters = parameters.into_iter().flatten().filter_map(Value::as_str);
        let parameters = parameters.map(ToOwned::to_owned).collect();
        let literal = plain(&format!("\"{text}\""));
        let stands_in = |sources: &[(String, String)]| -> Vec<String> {
            let files = sources.iter().filter(|(_, source)| source.contains(&literal));
            files.map(|(name, _)| name.clone()).collect()
        };
        let files = stands_in(&programs);
        if !files.is_empty() || stands_in(&tests).is_empty() {
            queries.push(Query { text, parameters, files });
        }
    }
    assert!(queries.len() > 300, "only {} queries were found", queries.len());
    queries
}

/// Adds rows to every growing table that is empty, bypassing constraints, and then sets the
/// statistics of each growing table to a million rows.
async fn pretend(db: &PgPool) {
    let bounded: Vec<_> = BOUNDED.iter().map(|(table, _)| *table).collect();
    let set = format!("set explain.bounded = '{}'", bounded.join(","));
    let mut connection = db.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await.unwrap();
    sqlx::raw_sql(PRETENDED_ROWS).execute(&mut *connection).await.unwrap();
    sqlx::raw_sql("analyze").execute(&mut *connection).await.unwrap();
    sqlx::raw_sql(PRETENDED_SIZE).execute(&mut *connection).await.unwrap();
}

const PRETENDED_ROWS: &str = "
    do $$
    declare
        growing record;
        rule record;
        is_empty boolean;
    begin
        for growing in
            select relid::regclass as name from pg_stat_user_tables
            where schemaname || '.' || relname
                <> all (string_to_array(current_setting('explain.bounded'), ','))
        loop
            execute format('alter table %s set (autovacuum_enabled = false)', growing.name);
            execute format('select not exists (select from %s)', growing.name) into is_empty;
            continue when not is_empty;
            for rule in
                select conname, conrelid::regclass as name from pg_constraint
                where contype in ('c', 'f') and growing.name in (conrelid, confrelid)
            loop
                execute format('alter table %s drop constraint if exists %I', rule.name, rule.conname);
            end loop;
            execute format('alter table %s disable trigger user', growing.name);
            execute (
                select format(
                    'insert into %s (%s) overriding system value
                     select %s from generate_series(1, 500) as n',
                    growing.name, string_agg(quote_ident(attname), ', '), string_agg(case
                        when typname in ('text', 'varchar') then '''x'' || n'
                        when typname = 'bpchar' then '''XX'''
                        when typname = 'uuid' then 'md5(n::text)::uuid'
                        when typname in ('int2', 'int4', 'int8', 'numeric') then 'n'
                        when typname = 'timestamptz' then 'now() - n * interval ''1 hour'''
                        when typname = 'date' then 'current_date - n'
                        when typname = 'bool' then 'n % 2 = 0'
                        when typname in ('jsonb', 'json') then '''{}'''
                        when typname = 'bytea' then 'decode(md5(n::text), ''hex'')'
                        when typname in ('inet', 'cidr') then '''10.0.0.0'''
                        when typname = 'xid8' then 'n::text::xid8'
                        when typcategory = 'A' then '''{}'''
                        else 'null'
                    end, ', '))
                from pg_attribute join pg_type on pg_type.oid = atttypid
                where attrelid = growing.name and attnum > 0 and not attisdropped
                    and attgenerated = ''
            );
        end loop;
    end
    $$";

const PRETENDED_SIZE: &str = "
    select pg_restore_relation_stats(
        'schemaname', schemaname::text, 'relname', pg_stat_user_tables.relname::text,
        'relpages', relpages, 'reltuples', (reltuples * 500)::real
    )
    from pg_stat_user_tables join pg_class on pg_class.oid = relid
    where schemaname || '.' || pg_stat_user_tables.relname
        <> all (string_to_array(current_setting('explain.bounded'), ','))
        and reltuples > 0";

/// The query with a literal page size, because a plan with an unknown limit assumes a tenth of the
/// table.
fn with_page(query: &str) -> String {
    let mut planned = query.to_owned();
    while let Some(place) = planned.find("limit $") {
        let digits: String =
            planned[place + 7..].chars().take_while(char::is_ascii_digit).collect();
        planned.replace_range(place..place + 7 + digits.len(), "limit 50");
        let is_used = planned.split('$').skip(1).any(|part| {
            part.strip_prefix(&digits)
                .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
        });
        if !is_used {
            planned = renumbered(&planned, digits.parse().unwrap());
        }
    }
    planned
}

/// The query without this parameter; later ones are renumbered.
fn renumbered(query: &str, without: usize) -> String {
    let mut moved = String::with_capacity(query.len());
    let mut parts = query.split('$');
    moved.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let number: usize = digits.parse().unwrap();
        let number = if number > without { number - 1 } else { number };
        write!(moved, "${number}{}", &part[digits.len()..]).unwrap();
    }
    moved
}

/// A plan that returns more rows than this of a growing table, and does not stop at a page, reads a
/// share of it.
const MANY: u64 = 5_000;

/// The growing tables that a plan reads as a whole, and how.
fn read_whole(
    plan: &Value,
    is_limited: bool,
    partial: &BTreeSet<String>,
    found: &mut BTreeSet<String>,
) {
    let text = |name: &str| plan[name].as_str().unwrap_or_default();
    let node = text("Node Type");
    let is_limited = is_limited || node == "Limit";
    let table = format!("{}.{}", text("Schema"), text("Relation Name"));
    let grows = !text("Relation Name").is_empty()
        && !text("Schema").starts_with("pg_")
        && !BOUNDED.iter().any(|(bounded, _)| *bounded == table);
    if grows && node.contains("Seq Scan") {
        found.insert(format!("reads all of {table}"));
    }
    if grows && node.starts_with("Index") && plan.get("Index Cond").is_none() {
        let index = text("Index Name");
        // A partial index contains only what it was made for, and a page stops when it is full.
        let stops = is_limited && plan.get("Filter").is_none();
        if !partial.contains(index) && !stops {
            found.insert(format!("goes through all of {index} of {table}"));
        }
    }
    let rows = plan["Plan Rows"].as_u64().unwrap_or_default();
    if grows && !is_limited && rows > MANY && !partial.contains(text("Index Name")) {
        found.insert(format!("reads some {rows} rows of {table}"));
    }
    for part in plan["Plans"].as_array().into_iter().flatten() {
        read_whole(part, is_limited, partial, found);
    }
}

#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn partial_indexes(db: &PgPool) -> BTreeSet<String> {
    let names: Vec<(String,)> = sqlx::query_as(
        "select relname::text from pg_index join pg_class on pg_class.oid = indexrelid
         where indpred is not null",
    )
    .fetch_all(db)
    .await
    .unwrap();
    names.into_iter().map(|(name,)| name).collect()
}

/// A shop of two thousand orders that Postgres plans for as for a million.
async fn large_shop(db: &PgPool) {
    filled(db, Extent { orders: 2_000, lines_max: 12, at_once: 2_000, is_beside_others: false })
        .await
        .unwrap();
    pretend(db).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn no_query_reads_more_because_there_are_more_orders(db: PgPool) {
    large_shop(&db).await;
    let partial = partial_indexes(&db).await;
    let mut used = BTreeSet::new();
    let mut complaints = BTreeMap::new();
    for Query { text, files, .. } in queries() {
        let explain = format!(
            "set max_parallel_workers_per_gather = 0;
             explain (generic_plan, verbose, format json) {}",
            with_page(&text)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&db).await;
        let rows = rows.unwrap_or_else(|error| panic!("{text}\n{error}"));
        let plan: String = rows[0].try_get_unchecked(0).unwrap();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let mut found = BTreeSet::new();
        read_whole(&plan[0]["Plan"], false, &partial, &mut found);
        let excuses = EXCUSED.iter().position(|excused| {
            text.contains(excused.says) && files.iter().any(|file| file.starts_with(excused.file))
        });
        match excuses {
            _ if found.is_empty() => {}
            Some(excuse) => {
                used.insert(excuse);
            }
            None => {
                complaints.insert(text, (files, found));
            }
        }
    }
    let mut told = String::new();
    for (query, (files, found)) in &complaints {
        write!(told, "\n{files:?}: {found:?}\n{query}\n").unwrap();
    }
    assert!(complaints.is_empty(), "{} queries grow with the orders:{told}", complaints.len());
    for (place, Excused { file, says, why }) in EXCUSED.iter().enumerate() {
        assert!(used.contains(&place), "nothing needs this excuse any more: {file} {says} ({why})");
    }
}

/// A value for a parameter of a recent proof's query: three orders and their reservations, the
/// present, and the newest transaction and message.
fn recent_value(kind: &str, orders: &[String]) -> String {
    match kind {
        "Uuid" => format!("'{}'", orders[0]),
        "UuidArray" => format!("'{{{}}}'", orders.join(",")),
        "TextArray" => format!("'{{{}:reserve-stock:1}}'", orders.join(":reserve-stock:1,")),
        "Timestamptz" => "now()".to_owned(),
        "Int4" => "1".to_owned(),
        "Int8" => i64::MAX.to_string(),
        other => panic!("a recent proof's query has a parameter of the type {other}"),
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_recent_proof_reads_no_more_because_there_are_more_orders(db: PgPool) {
    large_shop(&db).await;
    let partial = partial_indexes(&db).await;
    let orders = "select order_id::text from orders.orders order by placed_at desc limit 3";
    let orders: Vec<String> = sqlx::query_scalar(orders).fetch_all(&db).await.unwrap();
    let mut used = BTreeSet::new();
    let mut told = String::new();
    let mut planned = 0;
    for Query { text, parameters, files } in queries() {
        if !files.iter().any(|file| file.starts_with("worker/src/prove")) {
            continue;
        }
        planned += 1;
        let values: Vec<_> = parameters.iter().map(|kind| recent_value(kind, &orders)).collect();
        let values =
            if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        let explain = format!(
            "set plan_cache_mode = force_custom_plan; set max_parallel_workers_per_gather = 0;
             prepare asked as {text}; explain (verbose, format json) execute asked {values}"
        );
        let mut connection = db.begin().await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{text}\n{error}"));
        let plan: String = rows[0].try_get_unchecked(0).unwrap();
        sqlx::raw_sql("deallocate asked").execute(&mut *connection).await.unwrap();
        connection.rollback().await.unwrap();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let mut found = BTreeSet::new();
        read_whole(&plan[0]["Plan"], false, &partial, &mut found);
        let excuse = EXCUSED_OF_RECENT.iter().position(|excused| {
            text.contains(excused.says) && files.iter().any(|file| file.starts_with(excused.file))
        });
        match excuse {
            _ if found.is_empty() => {}
            Some(excuse) => {
                used.insert(excuse);
            }
            None => write!(told, "\n{files:?}: {found:?}\n{text}\n{plan:#}\n").unwrap(),
        }
    }
    assert!(planned > 40, "only {planned} queries are planned");
    assert!(told.is_empty(), "queries of a recent proof grow with the orders:{told}");
    let unused = EXCUSED_OF_RECENT.iter().enumerate().filter(|(place, _)| !used.contains(place));
    let unused: Vec<_> = unused.map(|(_, excused)| (excused.file, excused.says)).collect();
    assert!(unused.is_empty(), "nothing needs these excuses any more: {unused:?}");
}

/// The number of table rows that an executed plan has read.
fn looked_at(plan: &Value) -> f64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or_default();
    let here = if plan.get("Relation Name").is_some() {
        (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops")
    } else {
        0.0
    };
    let parts = plan["Plans"].as_array().into_iter().flatten().map(looked_at);
    here + parts.sum::<f64>()
}

/// Queries of lists and searches: a part of the text, the arguments, and the maximum number of rows
/// that the query may read.
const LISTED: &[(&str, &str, f64)] = &[
    // No order has failed, waits for a person or is being unwound.
    ("as allowed (status)", "PAGE, '{failed}'", 0.0),
    ("where attention is not null and placed_at", "PAGE", 0.0),
    ("where ending is not null and placed_at", "PAGE", 0.0),
    // A page of each status, and the first page of all these.
    ("as allowed (status)", "PAGE, '{rejected}'", 102.0),
    ("as allowed (status)", "PAGE, '{cancelled,failed,rejected}'", 153.0),
    // A scan of a hundred orders, of which none is disputed and some are refunded; and its end.
    ("limit $13", "null, null, 51, null, null, null, '{disputed}', null, REST, 100", 100.0),
    ("limit $13", "null, null, 51, null, null, null, '{refunded}', null, REST, 100", 151.0),
    ("limit $13", "null, null, 51, null, null, null, null, '{lost}', REST, 100", 100.0),
    ("offset $5 limit 1", "null, null, null, null, 99", 100.0),
    // An order by its id, and the customer with the next id.
    ("with recursive customer", "ID, ID, ID, 10001, 51", 2.0),
    ("as hit (order_id)", "PAGE, array[ID]::uuid[]", 2.0),
    ("with recursive customer", "'NOTHING-LIKE-IT', null, null, 10001, 51", 0.0),
    // A customer, and the next one; and the customer's orders.
    ("with recursive customer", "CUSTOMER, null, null, 10001, 51", 2.0),
    ("unnest($13::text[]) as customer", "PAGE, array[CUSTOMER]", 102.0),
];

#[sqlx::test(migrator = "MIGRATIONS")]
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn a_listing_looks_at_hardly_more_orders_than_it_shows(db: PgPool) {
    filled(&db, Extent { orders: 2_000, lines_max: 12, at_once: 2_000, is_beside_others: false })
        .await
        .unwrap();
    let (order, customer): (String, String) = sqlx::query_as(
        "select order_id::text, customer_id from orders.orders order by placed_at limit 1",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    let queries = queries();
    for (words, arguments, most) in LISTED {
        let found: Vec<_> = queries.iter().filter(|query| query.text.contains(words)).collect();
        let [Query { text, .. }] = found[..] else { panic!("{} queries: {words}", found.len()) };
        let arguments = arguments
            .replace("PAGE", "null, null, 51, null, null, null, null, null, null, null, null, null")
            .replace("REST", "null, null, null, null")
            .replace("CUSTOMER", &format!("'{customer}'"))
            .replace("ID", &format!("'{order}'"));
        let explain = format!(
            "set plan_cache_mode = force_generic_plan; set enable_seqscan = off;
             prepare asked as {text}; explain (analyze, format json) execute asked ({arguments})"
        );
        let mut connection = db.begin().await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{arguments}: {error}"));
        let plan: String = rows[0].try_get_unchecked(0).unwrap();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let looked_at = looked_at(&plan[0]["Plan"]);
        assert!(looked_at <= *most, "{arguments}: {looked_at} rows\n{plan:#}");
        sqlx::raw_sql("deallocate asked").execute(&mut *connection).await.unwrap();
        connection.rollback().await.unwrap();
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn no_function_reads_more_because_there_are_more_orders(db: PgPool) {
    large_shop(&db).await;
    let known: Vec<(String,)> = sqlx::query_as(
        "select distinct pronamespace::regnamespace || '.' || proname
         from pg_proc join pg_language on pg_language.oid = prolang
         where lanname in ('sql', 'plpgsql') and provolatile <> 'i'",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    let queries = queries();
    for (function,) in &known {
        let is_called = queries.iter().any(|query| query.text.contains(&format!("{function}(")));
        let listed = CALLED.iter().chain(UNCALLED).filter(|(name, _)| name == function).count();
        assert_eq!(listed, usize::from(is_called), "{function} is listed {listed} times");
    }
    for (name, _) in CALLED.iter().chain(UNCALLED) {
        assert!(known.iter().any(|(function,)| function == name), "{name} is not there");
    }
    for (name, call) in CALLED {
        let call = call
            .replace("ORDER", "(select max(order_id::text) from orders.launches_of_test)::uuid");
        let mut transaction = db.begin().await.unwrap();
        sqlx::raw_sql(
            "create table orders.launches_of_test as select order_id from orders.orders limit 1",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        let event = "(select data from orders.order_events where sequence = 1 and order_id
            = (select order_id from orders.launches_of_test) limit 1)";
        let call = call.replace("EVENT", event);
        let before = read_in_sequence(&mut transaction).await;
        let called = sqlx::raw_sql(AssertSqlSafe(call.clone())).execute(&mut *transaction).await;
        called.unwrap_or_else(|error| panic!("{call}: {error}"));
        let after = read_in_sequence(&mut transaction).await;
        let grown: Vec<_> = after
            .iter()
            .filter(|(table, scans)| before.get(*table).copied().unwrap_or_default() < **scans)
            .map(|(table, _)| table)
            .collect();
        assert!(grown.is_empty(), "{name} reads all of {grown:?}");
        transaction.rollback().await.unwrap();
    }
}

/// How often this transaction has scanned each growing table.
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn read_in_sequence(connection: &mut sqlx::PgConnection) -> BTreeMap<String, i64> {
    let scans: Vec<(String, i64)> = sqlx::query_as(
        "select schemaname || '.' || relname, seq_scan from pg_stat_xact_user_tables
         where relname <> 'launches_of_test'",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    let grows = |table: &str| !BOUNDED.iter().any(|(bounded, _)| *bounded == table);
    scans.into_iter().filter(|(table, _)| grows(table)).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
#[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
async fn every_bounded_table_is_there(db: PgPool) {
    for (table, why) in BOUNDED {
        let (there,): (bool,) = sqlx::query_as("select to_regclass($1) is not null")
            .bind(table)
            .fetch_one(&db)
            .await
            .unwrap();
        assert!(there, "{table} ({why}) is not there any more");
    }
}

#[test]
fn no_other_file_puts_queries_together() {
    let (programs, _) = all_sources();
    let puts_together = |text: &str| {
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        ["sqlx::query(", "sqlx::query_as(", "sqlx::query_scalar(", "QueryBuilder", "raw_sql("]
            .iter()
            .any(|way| program.contains(way))
    };
    let found: Vec<_> = programs
        .iter()
        .filter(|(_, text)| puts_together(text))
        .map(|(name, _)| name.as_str())
        .collect();
    let listed: Vec<_> = PUT_TOGETHER.iter().map(|(file, _)| *file).collect();
    assert_eq!(BTreeSet::from_iter(found), BTreeSet::from_iter(listed));
}

#[test]
fn a_query_is_planned_for_a_page() {
    assert_eq!(
        with_page("select a from t where b = $1 and c > $3 limit $2"),
        "select a from t where b = $1 and c > $2 limit 50"
    );
    assert_eq!(with_page("select $1 limit $1"), "select $1 limit 50");
    assert_eq!(with_page("select 1"), "select 1");
}
