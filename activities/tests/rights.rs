//! The database rights of the worker, the starter and the relay. All other tests run with these
//! rights alone, which shows that they are sufficient.

use runtime::schema::MIGRATIONS;
use sqlx::{PgConnection, PgPool};

/// The tables on which a role has these rights.
async fn tables(db: &PgPool, role: &str, rights: &str) -> Vec<String> {
    let tables = sqlx::query_scalar!(
        r#"
        select relname as "table!" from (
            select oid, oid::regclass::text as relname, relnamespace::regnamespace::text as party
            from pg_class where relkind = 'r'
        ) as known
        where party !~ '^(pg_|information_schema|_sqlx_test|public)'
            and case $2
                when 'see' then has_any_column_privilege($1, oid, 'select')
                when 'write' then has_any_column_privilege($1, oid, 'insert, update')
                    or has_table_privilege($1, oid, 'delete, truncate')
                when 'change' then has_any_column_privilege($1, oid, 'update')
                    or has_table_privilege($1, oid, 'delete, truncate')
                else has_table_privilege($1, oid, $2)
            end
        order by relname
        "#,
        role,
        rights,
    );
    tables.fetch_all(db).await.unwrap()
}

/// The SQLSTATE with which Postgres refuses the statement for this role.
async fn refused(db: &PgPool, role: &str, statement: &'static str) -> String {
    let mut transaction = db.begin().await.unwrap();
    let connection: &mut PgConnection = &mut transaction;
    sqlx::query!("select set_config('role', $1, true)", role)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    let refusal = sqlx::raw_sql(statement).execute(connection).await.unwrap_err();
    refusal.as_database_error().unwrap().code().unwrap().into_owned()
}

const NOT_ALLOWED: &str = "42501";

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_worker_sees_nothing_that_opens_doors(db: PgPool) {
    let seen = tables(&db, "ordersaga_worker", "see").await;
    assert!(seen.contains(&"customers.addresses".to_owned()), "{seen:?}");
    assert!(!seen.iter().any(|table| table.starts_with("identity.")), "{seen:?}");
    assert!(!seen.contains(&"customers.customers".to_owned()), "{seen:?}");
    for statement in [
        "select private_key from identity.signing_keys",
        "select password_hash from identity.logins",
        "select email from customers.customers",
    ] {
        assert_eq!(refused(&db, "ordersaga_worker", statement).await, NOT_ALLOWED, "{statement}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_starter_writes_neither_orders_nor_money_nor_books(db: PgPool) {
    assert_eq!(
        tables(&db, "ordersaga_starter", "write").await,
        [
            "catalog.products",
            "customers.customers",
            "customers.mail_preferences",
            "fraud.entries",
            "fraud.origins",
            "identity.clients",
            "identity.logins",
            "identity.sign_in_attempts",
            "identity.signing_keys",
            "inbox.events",
            "inventory.movements",
            "inventory.stock",
            "mail.waits",
            "operations.paused_queues",
            "operations.stopped_parties",
            "orders.launches",
            "orders.refund_launches",
        ]
    );
    for statement in [
        "select orders.record(gen_random_uuid(), 'order.completed', '{}')",
        "select orders.append(gen_random_uuid(), 1, 'order.placed', '{}', now())",
        "select orders.project_placed(gen_random_uuid(), '{}', 'v1:', now())",
        "select orders.take_step(gen_random_uuid(), 'ship-order', 1, '{}')",
        "select orders.note_end(gen_random_uuid(), 'order.completed', '{}')",
        "select operations.sweep('0 s', '0 s', 1)",
        // The closing of the books.
        "select ledger.close_books(1)",
        "insert into ledger.closings (through) values (1)",
        "delete from ledger.closings",
        "insert into orders.orders (order_id) values (gen_random_uuid())",
        "update orders.orders set status_data = '{\"status\": \"completed\"}'",
        "insert into orders.order_events (order_id, sequence, type, data, occurred_at)
            values (gen_random_uuid(), 1, 'order.placed', '{}', now())",
        "insert into orders.step_keys (order_id, step, version) values (gen_random_uuid(), 's', 1)",
        "insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
            values ('order', 'o', 1, 'ordersaga.order.placed.v1', '{}')",
        // Messages are derived from other records, and only the relay updates their delivery.
        "select payload from outbox.messages",
        "update outbox.sinks set paused_at = null",
        "update outbox.parked set decision = 'skip'",
        "delete from outbox.sinks",
        "delete from outbox.interventions",
        "select outbox.rebase(false)",
        "select outbox.sweep('0 s', 1)",
        // A launch needs an order on record, and only the worker reads how the customer pays.
        "insert into orders.launches (order_id, placed_at) values (gen_random_uuid(), now())",
        "update orders.launches set order_id = gen_random_uuid()",
        "insert into payments.methods (order_id, method) values (gen_random_uuid(), 'tok_visa')",
        "select method from payments.methods",
        // A refund begins with a request that claims its amount.
        "insert into orders.refund_launches (order_id, number) values (gen_random_uuid(), 1)",
        "update payments.refund_requests set amount = 1",
        "update payments.charges set refund_claimed = 0",
        "update payments.disputes set status = 'won'",
        "select amount from payments.dispute_movements",
        // Screening results and decisions are immutable.
        "update fraud.reviews set decision = 'approve', decided_at = now()",
        "insert into fraud.screenings (order_id) values (gen_random_uuid())",
        "insert into fraud.trials (order_id) values (gen_random_uuid())",
        "update fraud.entries set list = 'allow'",
        // A rule set is added and activated in somebody's name.
        "insert into fraud.rule_sets (rules) values ('{\"rules\": []}')",
        "insert into fraud.activations (rule_set) values (1)",
        "select fraud.fingerprints_of(gen_random_uuid())",
        "select fraud.withdraw(gen_random_uuid(), 1)",
        "select fingerprint_key from fraud.secrets",
        "insert into customers.addresses (address_id) values (gen_random_uuid())",
        "insert into payments.charges (charge_key, order_id) values ('k', gen_random_uuid())",
        "insert into ledger.transactions (key) values ('by hand')",
        "select orders.repair(gen_random_uuid(), 'worker', 'by hand')",
        // Only orders reserve and sell goods, and addresses cannot be read back.
        "update inventory.stock set reserved = 0",
        "select name, line1 from customers.addresses",
        "select * from sandbox_provider.payments",
        // Only the worker records comparisons and differences.
        "insert into finance.runs (request, covers_from, covers_to) values ('r', '-infinity', now())",
        "update finance.differences set closed_at = now()",
        "update finance.differences set settled_at = now()",
        "select * from finance.provider_payments",
        // Only the worker reads who has transferred money, and from which account.
        "select payer_iban from bank.entries",
        "insert into bank.payments (reference) values ('RF')",
        // Only the relay records mails to customers, and only the customer may use a mail's token.
        "select unsubscribe from mail.notifications",
        "update mail.notifications set state = 'sent', sent_at = now()",
        "insert into mail.notifications (fact) values ('order:1')",
        "update mail.waits set told_at = now()",
        // Webhook endpoints are changed by functions, and a secret is shown once.
        "select key from webhooks.secrets",
        "update webhooks.endpoints set url = 'https://eve.example'",
        "select webhooks.disable(gen_random_uuid(), 'gone', null, 'by hand')",
        "select webhooks.sweep(0, 1)",
        // Only the workers record a party's state.
        "delete from operations.party_standings",
        // Events of the payment provider are stored here, and applied by the workers.
        "update inbox.events set state = 'applied', done_at = now()",
        "delete from inbox.events",
        "update inbox.feeds set due_at = now()",
        "select inbox.sweep('0 s', 1)",
        "select payments.reverse_refund(gen_random_uuid(), 1, 're_1', 'why', '{}')",
        "select payments.record_outside_refund('c', 1, 0, 're_1', 'k', '{1,0,0,0}', '{}', '{}', '{}',
            '{}', '{}', '{}')",
    ] {
        assert_eq!(refused(&db, "ordersaga_starter", statement).await, NOT_ALLOWED, "{statement}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_worker_writes_what_orders_change_and_nothing_else(db: PgPool) {
    assert_eq!(
        tables(&db, "ordersaga_worker", "change").await,
        [
            "bank.entries",
            "bank.lines",
            "bank.lists",
            "bank.payments",
            "finance.differences",
            "finance.payouts",
            "finance.provider_payments",
            "finance.provider_refunds",
            "finance.runs",
            "fraud.reviews",
            "inbox.events",
            "inbox.feeds",
            "inventory.reservations",
            "inventory.stock",
            "operations.party_standings",
            "orders.launches",
            "orders.orders",
            "orders.step_keys",
            "payments.charges",
            "payments.disputes",
            "payments.refund_requests",
            "sandbox_carrier.behaviours",
            "sandbox_carrier.late_requests",
            "sandbox_carrier.shipments",
            "sandbox_provider.behaviours",
            "sandbox_provider.late_requests",
            "sandbox_provider.outages",
            "sandbox_provider.payments",
            "shipping.shipments",
        ]
    );
    let written = tables(&db, "ordersaga_worker", "write").await;
    for table in [
        "ledger.transactions",
        "ledger.entries",
        "orders.order_events",
        "outbox.messages",
        "inventory.movements",
        "payments.refunds",
        "payments.dispute_movements",
        "finance.balance_transactions",
    ] {
        assert!(written.contains(&table.to_owned()), "{table}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn only_who_may_come_and_what_stands_still_is_ever_removed(db: PgPool) {
    assert_eq!(
        tables(&db, "ordersaga_worker", "delete").await,
        ["operations.party_standings", "orders.launches"]
    );
    assert_eq!(
        tables(&db, "ordersaga_starter", "delete").await,
        [
            "fraud.entries",
            "identity.clients",
            "identity.sign_in_attempts",
            "operations.paused_queues",
            "operations.stopped_parties",
            "orders.launches",
            "orders.refund_launches"
        ]
    );
    for role in ["ordersaga_worker", "ordersaga_starter"] {
        assert_eq!(tables(&db, role, "truncate").await, Vec::<String>::new());
    }
}

/// Functions with their owner's rights, and who may call them.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_runs_with_its_owners_rights_is_called_by_those_who_are_to(db: PgPool) {
    let callers = sqlx::query!(
        r#"
        select
            oid::regproc::text as "function!",
            has_function_privilege('ordersaga_starter', oid, 'execute') as "starter!",
            has_function_privilege('ordersaga_worker', oid, 'execute') as "worker!",
            proconfig::text ~ 'search_path=pg_catalog, pg_temp' as "has_its_own_path!"
        from pg_proc where prosecdef
        order by 1
        "#
    );
    let callers = callers.fetch_all(&db).await.unwrap();
    assert!(callers.iter().all(|row| row.has_its_own_path));
    let callers: Vec<_> =
        callers.iter().map(|row| (row.function.as_str(), row.starter, row.worker)).collect();
    assert_eq!(
        callers,
        [
            // Called by triggers.
            ("catalog.revalue", false, false),
            ("finance.settle_difference", true, false),
            ("fraud.activate_rule_set", true, false),
            ("fraud.add_entry", true, false),
            ("fraud.add_rule_set", true, false),
            ("fraud.count_order", false, true),
            ("fraud.decide", true, false),
            ("fraud.fingerprints_of", false, true),
            ("fraud.withdraw", false, true),
            ("inbox.dismiss", true, false),
            ("inbox.sweep", false, true),
            ("inventory.book_variance", false, false),
            ("ledger.book_movement", true, false),
            ("ledger.close_books", false, true),
            // Called by triggers.
            ("ledger.refuse_before_closing", false, false),
            ("ledger.sum_up", false, false),
            ("mail.retry", true, false),
            ("mail.skip", true, false),
            ("mail.unsubscribe", true, false),
            ("operations.sweep", false, true),
            ("orders.cancel_before_launch", true, false),
            ("orders.deliver", true, false),
            ("orders.place", true, false),
            ("orders.place_many", true, false),
            ("outbox.decide", true, false),
            // Used by programs that show the delivery of messages.
            ("outbox.is_restored", true, true),
            ("outbox.pause", true, false),
            ("outbox.remove", true, false),
            ("outbox.replay_all", true, false),
            ("outbox.standings", true, true),
            // Called by the sweep.
            ("outbox.sweep", false, false),
            ("payments.record_outside_refund", false, true),
            ("payments.release_dispute", true, false),
            ("payments.replace_method", true, false),
            ("payments.request_refund", true, false),
            ("payments.reverse_refund", false, true),
            ("webhooks.change_endpoint", true, false),
            ("webhooks.create_endpoint", true, false),
            // Called by the relay.
            ("webhooks.disable", false, false),
            ("webhooks.redeliver", true, false),
            ("webhooks.remove_endpoint", true, false),
            ("webhooks.rotate_secret", true, false),
            // Called by the relay.
            ("webhooks.sweep", false, false),
            ("webhooks.try_out", true, false),
        ]
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_relay_sees_of_orders_and_customers_what_mails_and_invoices_say(db: PgPool) {
    let seen = sqlx::query_scalar!(
        r#"
        select format('%s: %s', attrelid::regclass, string_agg(attname::text, ' ' order by attname))
            as "seen!"
        from pg_attribute join pg_class on pg_class.oid = attrelid
        where relkind = 'r' and attnum > 0 and not attisdropped
            and relnamespace::regnamespace::text
                in ('catalog', 'customers', 'inventory', 'orders', 'payments')
            and has_column_privilege('ordersaga_relay', attrelid, attnum, 'select')
        group by attrelid
        "#
    );
    let mut seen = seen.fetch_all(&db).await.unwrap();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            "catalog.products: name sku",
            "customers.addresses: address_id city country line1 line2 name postal_code",
            "customers.customers: customer_id email name phone",
            "customers.mail_preferences: customer_id email locale switched_off",
            "inventory.stock: on_hand reserved sku",
            "orders.order_events: data order_id sequence type version",
            "orders.orders: address_id country currency customer_id discount ending \
             fulfilment_status lines order_id payment_status placed_at shipping status subtotal \
             tax total",
            "payments.charges: approvable_until attempt captured order_id replaceable_until \
             replaced_at state",
            "payments.refund_requests: currency goods goods_tax lines number order_id shipping \
             shipping_tax",
        ]
    );
    let all = tables(&db, "ordersaga_relay", "see").await;
    for private in ["bank.", "fraud.", "identity.", "inbox.", "ledger.", "sandbox_"] {
        assert!(!all.iter().any(|table| table.starts_with(private)), "{all:?}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_relay_changes_no_order_and_says_nothing_in_an_operators_name(db: PgPool) {
    for statement in [
        "update orders.orders set status_data = '{\"status\": \"completed\"}'",
        "select orders.record(gen_random_uuid(), 'order.completed', '{}')",
        "select fingerprint from orders.orders",
        "select terms from orders.orders",
        "select approval_url from payments.charges",
        "select method from payments.methods",
        "update customers.customers set email = 'eve@example.org'",
        "update inventory.stock set reserved = 0",
        "update mail.waits set withdrawn_at = now()",
        "delete from mail.notifications",
        "select mail.retry(1, 'relay')",
        "select mail.skip(1, 'relay', 'by hand')",
        "update invoices.invoices set total = 0",
    ] {
        assert_eq!(refused(&db, "ordersaga_relay", statement).await, NOT_ALLOWED, "{statement}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_worker_cannot_place_an_order_nor_change_how_it_is_paid(db: PgPool) {
    for statement in [
        "select orders.place(gen_random_uuid(), 'v1:', '{}', 'tok_visa', null, '0 s')",
        "select orders.place_many('{}', '{}', '{}', '{}', '{}', '{}')",
        "select orders.cancel_before_launch(gen_random_uuid(), 'by hand')",
        "select orders.deliver(gen_random_uuid(), null, 'worker')",
        "select orders.repair(gen_random_uuid(), 'worker', 'by hand')",
        "update payments.methods set method = 'tok_other'",
        "select payments.replace_method(gen_random_uuid(), 'tok_other', null)",
        "select fraud.decide(gen_random_uuid(), 'approve', 'worker', 'by hand')",
        "select fraud.add_entry('allow', 'customer', 'a', null, 'by hand', 'worker')",
        "insert into fraud.rule_sets (rules) values ('{\"rules\": []}')",
        "insert into fraud.activations (rule_set) values (1)",
        "select fraud.add_rule_set('{\"rules\": []}', 'worker', 'by hand')",
        "select fraud.activate_rule_set(1, 'worker', 'by hand')",
        "update fraud.trials set verdict = 'approve'",
        "insert into fraud.entries (list) values ('allow')",
        "update fraud.screenings set verdict = 'approve'",
        "delete from fraud.counted",
        "select fingerprint_key from fraud.secrets",
        "select payments.request_refund(gen_random_uuid(), 1, 0, 'k', 'v1:', '{1,0,0,0}', '{}')",
        // The bank's entries are immutable, and so are payment lists.
        "update bank.entries set amount = 1",
        "update bank.lines set amount = 1",
        "update bank.lists set iban = 'GB82WEST12345698765432'",
        "delete from bank.entries",
        // The amount and the goods of a refund are fixed.
        "update payments.refund_requests set amount = 1",
        "delete from payments.refund_requests",
        // A dispute's record is kept, and only an operator may mark it as dealt with.
        "delete from payments.disputes",
        "update payments.dispute_movements set amount = 1",
        "select payments.release_dispute(gen_random_uuid(), 1, 'worker', 'by hand')",
        "update payments.refund_requests set reversals = 1",
        "update payments.refunds set returned_at = now()",
        "delete from inbox.events",
        "delete from outbox.messages",
        "update outbox.messages set published_at = now()",
        "update outbox.progress set seen = pg_current_snapshot()",
        "delete from outbox.parked",
        "select outbox.decide('kafka', null, 'skip', 'worker', 'by hand')",
        "select outbox.remove('kafka', 'worker', 'by hand')",
        "select outbox.replay_all('kafka', 'worker', 'by hand')",
        "select outbox.sweep('0 s', 1)",
        "select outbox.rebase(false)",
        "delete from orders.step_keys",
        // Only the sandboxes' owner configures their faults.
        "insert into sandbox_carrier.behaviours (call, whom, behaviour) values ('*', '*', 'html')",
        "update sandbox_provider.behaviours set behaviour = 'html'",
        "delete from sandbox_provider.behaviours",
        "update sandbox_carrier.late_requests set request = '{}'",
        "select sandbox_provider.pay_out()",
        "insert into sandbox_provider.payouts (currency, amount) values ('GBP', 1)",
        // Balance transactions are immutable, and differences are never deleted.
        "update finance.balance_transactions set fee = 0",
        "delete from finance.differences",
        // Only a person may settle a difference that does not close by itself.
        "select finance.settle_difference(1, 'worker', 'by hand')",
        "select inbox.dismiss('evt_1', 'worker', 'by hand')",
        "select mail.retry(1, 'worker')",
        "select unsubscribe from mail.notifications",
        "select email from customers.mail_preferences",
        // Only an operator may stop a party.
        "insert into operations.stopped_parties (party, stopped_by, why)
            values ('carrier', 'worker', 'by hand')",
        "delete from operations.stopped_parties",
    ] {
        assert_eq!(refused(&db, "ordersaga_worker", statement).await, NOT_ALLOWED, "{statement}");
    }
}

/// The former common role, in a database of an earlier release.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_role_that_was_worker_and_starter_is_left_with_nothing(db: PgPool) {
    for rights in ["see", "write"] {
        assert_eq!(tables(&db, "ordersaga_app", rights).await, Vec::<String>::new());
    }
}
