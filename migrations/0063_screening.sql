-- An order may be screened for fraud before its money is taken.
--
-- What orders are counted by is on record as a fingerprint: a hash over the subject and a key that
-- is drawn here and that neither program can read. Of the address that a customer orders from, the
-- network alone is kept.
--
-- Counting is exact, however many orders come at once. An order takes a lock for each of its subjects,
-- always in the same order, is written down beside the others, and the locks go with the commit. Its
-- place in that row never changes, so whoever counts again counts the same.
--
-- An order that a person has to look at waits with its step's idempotency record open, as one does
-- that waits for its customer. Until when is on record, and by that time the step decides, whichever
-- run of the order's workflow asks. A decision, by a person or by the deadline, answers that record in
-- one transaction: of two, one comes first, and the other finds it.
set local lock_timeout = '3s';

create schema fraud;

-- ---------------------------------------------------------------------------------------------
-- Rules and lists
-- ---------------------------------------------------------------------------------------------

-- Sets of rules, as `domain::screening::RuleSet` reads them. The newest counts; none is changed.
create table fraud.rule_sets (
    version integer generated always as identity primary key,
    rules jsonb not null constraint rule_sets_have_rules
        check (jsonb_typeof(rules -> 'rules') = 'array'),
    added_at timestamptz not null default now()
);

create trigger rule_sets_append_only
    before update or delete or truncate on fraud.rule_sets
    for each statement execute function orders.refuse_change();

-- What a shop begins with: the lists and the provider's own opinion decide, all else is tried out.
insert into fraud.rule_sets (rules) values ('{
    "review_at": 50, "decline_at": 100, "review_default": "decline",
    "rules": [
        {"name": "blocked", "mode": "active", "when": {"listed": "block"},
         "effect": {"verdict": "decline"}},
        {"name": "allowed", "mode": "active", "when": {"listed": "allow"},
         "effect": {"verdict": "approve"}},
        {"name": "risky-payment", "mode": "active", "when": {"provider-risk": "elevated"},
         "effect": {"verdict": "review"}},
        {"name": "customer-hourly", "mode": "shadow",
         "when": {"velocity": {"of": "customer", "seconds": 3600, "more_than": 10}},
         "effect": {"verdict": "review"}},
        {"name": "payment-method-hourly", "mode": "shadow",
         "when": {"velocity": {"of": "payment-method", "seconds": 3600, "more_than": 5}},
         "effect": {"verdict": "review"}},
        {"name": "address-daily", "mode": "shadow",
         "when": {"velocity": {"of": "address", "seconds": 86400, "more_than": 10}},
         "effect": {"weight": 30}},
        {"name": "network-hourly", "mode": "shadow",
         "when": {"velocity": {"of": "network", "seconds": 3600, "more_than": 20}},
         "effect": {"weight": 30}},
        {"name": "first-order", "mode": "shadow", "when": "first-order", "effect": {"weight": 20}},
        {"name": "unusual-country", "mode": "shadow", "when": "unusual-country",
         "effect": {"weight": 30}},
        {"name": "foreign-payment-method", "mode": "shadow", "when": "method-country",
         "effect": {"verdict": "review"}}
    ]
}');

-- The key of the fingerprints: one row, which the owner's functions alone read.
create table fraud.secrets (
    only_one boolean primary key default true constraint secrets_is_one_row check (only_one),
    fingerprint_key bytea not null
);

insert into fraud.secrets (fingerprint_key)
values (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- A subject is on one list at most; listed again, it is on the newer one.
create table fraud.entries (
    entry_id bigint generated always as identity primary key,
    list text not null constraint entries_list_known check (list in ('block', 'allow')),
    kind text not null constraint entries_kind_known
        check (kind in ('customer', 'payment-method', 'address', 'network')),
    fingerprint bytea not null,
    -- The subject itself, where it may be shown: a customer's id, or a network.
    shown text,
    why text not null constraint entries_why_bounded check (char_length(why) between 1 and 200),
    -- As the token named them.
    listed_by text not null,
    listed_at timestamptz not null default now(),
    constraint entries_once_per_subject unique (kind, fingerprint)
);

-- ---------------------------------------------------------------------------------------------
-- What orders are counted by
-- ---------------------------------------------------------------------------------------------

-- Where an order came from, as the shop's backend has told it.
create table fraud.origins (
    order_id uuid primary key,
    network cidr not null,
    recorded_at timestamptz not null default now()
);

create table fraud.counted (
    -- Follows the order of commits among those of one subject: both are taken under its lock.
    position bigint generated always as identity,
    order_id uuid not null,
    version integer not null,
    kind text not null,
    fingerprint bytea not null,
    counted_at timestamptz not null,
    -- An order that was unwound counts no more.
    withdrawn_at timestamptz,
    primary key (order_id, version, kind)
);

create index counted_by_subject on fraud.counted (kind, fingerprint, counted_at);
create index counted_by_time on fraud.counted (counted_at);
create index origins_by_time on fraud.origins (recorded_at);

comment on table fraud.counted is
    'Orders by customer, payment method, address and network, for as long as rules may count them.';

create function fraud.fingerprint_of(kind text, subject text) returns bytea
language sql stable
return (
    select sha256(fingerprint_key || sha256(fingerprint_key || convert_to(kind || ':' || subject, 'UTF8')))
    from fraud.secrets
);

-- What an order can be counted and listed by. The same address is one whoever lives there, with or
-- without capitals, spaces and punctuation.
create function fraud.subjects_of(the_order uuid)
returns table (kind text, subject text, fingerprint bytea)
language sql stable as $$
    select known.kind, known.subject, fraud.fingerprint_of(known.kind, known.subject)
    from orders.orders as placed
    left join payments.methods on methods.order_id = placed.order_id and methods.attempt = 1
    left join customers.addresses as written on written.address_id = placed.address_id
    left join fraud.origins on origins.order_id = placed.order_id
    cross join lateral (values
        ('customer', placed.customer_id),
        ('payment-method', methods.method),
        ('address', nullif(regexp_replace(
            lower(concat_ws(' ', written.line1, written.line2, written.city, written.postal_code,
                written.country)),
            '[[:space:][:punct:]]', '', 'g'
        ), '')),
        ('network', origins.network::text)
    ) as known (kind, subject)
    where placed.order_id = the_order and known.subject is not null
$$;

-- The same without the subjects themselves.
create function fraud.fingerprints_of(the_order uuid) returns table (kind text, fingerprint bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select known.kind, known.fingerprint from fraud.subjects_of(the_order) as known
$$;

-- Counts an order among those of the same subjects, once, and answers for each of the windows how many
-- there are up to this one. An order that is undone before it is counted is not counted any more.
create function fraud.count_order(
    the_order uuid, the_version integer, kinds text[], windows integer[]
) returns table (subject text, seconds integer, how_many bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    turn record;
begin
    -- `fraud.withdraw` takes this one too, so that what is withdrawn is not counted afterwards.
    perform pg_advisory_xact_lock(hashtextextended('order:' || the_order::text, 0));
    -- Sorted, so that two orders that share two subjects wait for each other and never deadlock.
    for turn in
        select distinct
            hashtextextended(known.kind || ':' || encode(known.fingerprint, 'hex'), 0) as number
        from fraud.subjects_of(the_order) as known order by number
    loop
        perform pg_advisory_xact_lock(turn.number);
    end loop;
    -- A statement of its own: it sees whatever was committed before the locks were had.
    insert into fraud.counted (order_id, version, kind, fingerprint, counted_at)
    select the_order, the_version, known.kind, known.fingerprint, clock_timestamp()
    from fraud.subjects_of(the_order) as known
    where not exists (
        select from orders.step_keys
        where step_keys.order_id = the_order and step_keys.step = 'screen-order'
            and step_keys.version = the_version and step_keys.undone_at is not null
    )
    on conflict do nothing;
    return query
    select asked.kind, asked.back, count(*)
    from unnest(kinds, windows) as asked (kind, back)
    join fraud.counted as own
        on own.order_id = the_order and own.version = the_version and own.kind = asked.kind
    join fraud.counted as other
        on other.kind = own.kind and other.fingerprint = own.fingerprint
        and other.position <= own.position
        and other.counted_at > own.counted_at - asked.back * interval '1 second'
        and (other.withdrawn_at is null or other.position = own.position)
    group by asked.kind, asked.back;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Screenings and reviews
-- ---------------------------------------------------------------------------------------------

create table fraud.screenings (
    order_id uuid not null,
    -- The version of the order's record.
    version integer not null,
    -- 1 before the payment is asked for, 2 once it is authorised.
    attempt integer not null constraint screenings_attempt_known check (attempt in (1, 2)),
    -- The version of the set of rules.
    rule_set integer not null references fraud.rule_sets,
    verdict text not null constraint screenings_verdict_known
        check (verdict in ('approve', 'review', 'decline')),
    weight bigint not null,
    -- What each rule has found, those that are tried out included; see `domain::screening::Finding`.
    findings jsonb not null,
    -- What the provider has said of the payment by then.
    risk_level text,
    method_country char(2),
    screened_at timestamptz not null default now(),
    primary key (order_id, version, attempt)
);

create table fraud.reviews (
    order_id uuid not null,
    version integer not null,
    attempt integer not null,
    asked_at timestamptz not null default now(),
    review_until timestamptz not null,
    -- What is decided if nobody does in time.
    otherwise text not null constraint reviews_otherwise_known
        check (otherwise in ('approve', 'decline')),
    -- Null while it waits. An order that is unwound meanwhile needs no decision any more.
    decision text constraint reviews_decision_known
        check (decision in ('approve', 'decline', 'withdrawn')),
    -- As the token named them; null if the deadline decided.
    decided_by text,
    note text constraint reviews_note_bounded check (char_length(note) between 1 and 200),
    decided_at timestamptz,
    primary key (order_id, version, attempt),
    constraint reviews_decided_at_a_time check ((decision is null) = (decided_at is null))
);

create index reviews_waiting on fraud.reviews (review_until, order_id) where decision is null;

-- Decides a review that waits, once: answers the step, and records what was decided. Whether this call
-- did. `the_decider` is null if the deadline decides.
create function fraud.conclude_review(
    the_order uuid, the_version integer, the_attempt integer, the_decision text,
    the_decider text, the_note text
) returns boolean language plpgsql as $$
declare
    asked record;
begin
    -- The review before the step's record, whoever decides: the other way is a deadlock.
    select reviews.decision into asked from fraud.reviews
    where (reviews.order_id, reviews.version, reviews.attempt)
        = (the_order, the_version, the_attempt)
        and reviews.decision is null
    for update;
    if not found then
        return false;
    end if;
    -- Nothing, if the step was undone a moment ago.
    if orders.take_step(
        the_order,
        case the_attempt when 1 then 'screen-order' else 'screen-order:' || the_attempt end,
        the_version,
        case the_decision
            when 'approve' then jsonb_build_object('done', jsonb_build_object('rule_set', (
                select screenings.rule_set from fraud.screenings
                where (screenings.order_id, screenings.version, screenings.attempt)
                    = (the_order, the_version, the_attempt)
            )))
            else '{"refused":{"code":"screening-declined"}}'::jsonb
        end
    ) is null then
        return false;
    end if;
    update fraud.reviews
    set decision = the_decision, decided_by = the_decider, note = the_note,
        decided_at = clock_timestamp()
    where (reviews.order_id, reviews.version, reviews.attempt)
        = (the_order, the_version, the_attempt);
    perform orders.record(the_order, 'order.reviewed', jsonb_build_object(
        'decision', the_decision, 'by_default', the_decider is null
    ));
    return true;
end
$$;

-- A person decides about an order that waits for that. Answers what became of the decision, and which
-- of the order's screenings it is about:
--
-- 'decided': done;
-- 'repeated': the same person has decided the same before;
-- 'not-waiting': the order does not wait for a review, or another decision was made;
-- 'too-late': the time in which it waited is over.
create function fraud.decide(
    the_order uuid, the_decision text, the_decider text, the_note text
) returns table (outcome text, attempt integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    asked record;
    placed record;
begin
    select reviews.* into asked from fraud.reviews
    where reviews.order_id = the_order
    order by reviews.version desc, reviews.attempt desc limit 1 for update;
    select orders.status, orders.ending into placed from orders.orders
    where orders.order_id = the_order;
    attempt := asked.attempt;
    outcome := case
        when asked.decision = the_decision and asked.decided_by = the_decider then 'repeated'
        when asked.order_id is null or asked.decision is not null
            or placed.status is distinct from 'processing' or placed.ending is not null
            then 'not-waiting'
        when asked.review_until <= clock_timestamp() then 'too-late'
        when fraud.conclude_review(
            asked.order_id, asked.version, asked.attempt, the_decision, the_decider, the_note
        ) then 'decided'
        else 'not-waiting'
    end;
    return next;
end
$$;

-- An order that is unwound counts no more, and nobody has to look at it any more. What the bank or
-- the shop itself has declined goes on counting: it is what the rules look for. The step's tombstone
-- is left before, so what comes late is neither counted nor reviewed.
create function fraud.withdraw(the_order uuid, the_version integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('order:' || the_order::text, 0));
    update fraud.counted set withdrawn_at = clock_timestamp()
    where counted.order_id = the_order and counted.version = the_version
        and counted.withdrawn_at is null
        and not exists (
            select from orders.orders
            where orders.order_id = the_order
                and coalesce(orders.ending, orders.status_data) #>> '{rejection,code}'
                    in ('card-declined', 'screening-declined')
        );
    update fraud.reviews set decision = 'withdrawn', decided_at = clock_timestamp()
    where reviews.order_id = the_order and reviews.version = the_version
        and reviews.decision is null;
end
$$;

-- Puts a subject on a list, by itself or as that of an order; the number of the entry, or nothing if
-- the order has no such subject. Listed again, the newer list and reason count.
create function fraud.add_entry(
    the_list text, the_kind text, the_subject text, the_order uuid, the_reason text, the_lister text
) returns bigint language sql security definer set search_path = pg_catalog, pg_temp as $$
    with found as (
        select known.subject, known.fingerprint from fraud.subjects_of(the_order) as known
        where the_subject is null and known.kind = the_kind
        union all
        select the_subject, fraud.fingerprint_of(the_kind, the_subject)
        where the_subject is not null
    )
    insert into fraud.entries as known
        (list, kind, fingerprint, shown, why, listed_by)
    select the_list, the_kind, fingerprint,
        case when the_kind in ('customer', 'network') then subject end, the_reason, the_lister
    from found
    on conflict (kind, fingerprint) do update
    set list = excluded.list, why = excluded.why, listed_by = excluded.listed_by, listed_at = now()
    returning entry_id
$$;

-- ---------------------------------------------------------------------------------------------
-- What the provider says of a payment
-- ---------------------------------------------------------------------------------------------

alter table payments.charges
    add column risk_level text constraint charges_risk_level_known
        check (risk_level in ('normal', 'elevated', 'highest')),
    -- Where the payment method is from.
    add column method_country char(2);

-- ---------------------------------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------------------------------

-- As before, and one thing more: what screening keeps of orders goes with their idempotency records'
-- time. Screenings and reviews stay, as events do.
create or replace function operations.sweep(
    outbox_for interval, idempotency_for interval, at_most integer
) returns table (what text, removed bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    networks bigint;
begin
    what := 'published messages';
    with due as (
        select position from outbox.messages where published_at < now() - outbox_for
        order by published_at limit at_most for update skip locked
    )
    delete from outbox.messages using due where messages.position = due.position;
    get diagnostics removed = row_count;
    return next;

    what := 'idempotency records';
    with due as (
        select step_keys.order_id, step, step_keys.version
        from orders.orders join orders.step_keys using (order_id)
        where orders.is_terminal(status) and updated_at < now() - idempotency_for
        limit at_most for update of step_keys skip locked
    )
    delete from orders.step_keys using due
    where (step_keys.order_id, step_keys.step, step_keys.version)
        = (due.order_id, due.step, due.version);
    get diagnostics removed = row_count;
    return next;

    what := 'launch rows of orders that have ended';
    with due as (
        select order_id from orders.launches join orders.orders using (order_id)
        where orders.is_terminal(status)
        limit at_most for update of launches skip locked
    )
    delete from orders.launches using due where launches.order_id = due.order_id;
    get diagnostics removed = row_count;
    return next;

    what := 'what orders were counted by';
    with due as (
        select origins.order_id from fraud.origins where recorded_at < now() - idempotency_for
        order by recorded_at limit at_most for update skip locked
    )
    delete from fraud.origins using due where origins.order_id = due.order_id;
    get diagnostics networks = row_count;
    with due as (
        select counted.order_id, counted.version, counted.kind from fraud.counted
        where counted_at < now() - idempotency_for
        order by counted_at limit at_most for update skip locked
    )
    delete from fraud.counted using due
    where (counted.order_id, counted.version, counted.kind)
        = (due.order_id, due.version, due.kind);
    get diagnostics removed = row_count;
    removed := removed + networks;
    return next;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

revoke execute on function
    fraud.fingerprint_of, fraud.subjects_of, fraud.fingerprints_of, fraud.count_order,
    fraud.decide, fraud.withdraw, fraud.add_entry
    from public;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant usage on schema fraud to ordersaga_worker;
        grant select on fraud.rule_sets, fraud.entries, fraud.screenings, fraud.reviews
            to ordersaga_worker;
        grant insert on fraud.screenings, fraud.reviews to ordersaga_worker;
        grant update (decision, decided_by, note, decided_at) on fraud.reviews to ordersaga_worker;
        grant execute on function
            fraud.fingerprints_of, fraud.count_order, fraud.withdraw to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant usage on schema fraud to ordersaga_starter;
        grant select on fraud.screenings, fraud.reviews to ordersaga_starter;
        grant select (entry_id, list, kind, shown, why, listed_by, listed_at), delete
            on fraud.entries to ordersaga_starter;
        grant insert on fraud.origins to ordersaga_starter;
        grant execute on function fraud.decide, fraud.add_entry to ordersaga_starter;
    end if;
end
$$;
