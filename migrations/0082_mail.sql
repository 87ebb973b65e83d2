-- Customers are told: which mails are to be sent, what became of each, and who waits for what.
--
-- A notification is a row that the sink `mail` makes of an order's event, once: its template and
-- the event's id name it. Whom it goes to is not in it. Address, name and what the mail says are
-- read when it is sent, from where they are kept anyway, so erasing a person leaves nothing here.
--
-- SMTP has no way to ask what became of a mail. So a row is `sending`, and that is committed,
-- before the server is given the mail. One that is found like that after its sender died may have
-- been sent or not, and its policy decides: `at-least-once` is sent again, `at-most-once` is not,
-- and is shown to operators.
create schema mail;

-- Customers who want to hear when an article is to be had again.
create table mail.waits (
    wait_id bigint generated always as identity primary key,
    customer_id text not null,
    sku text not null references catalog.products,
    created_at timestamptz not null default now(),
    -- When the notification was made: once for each wait. Taken back where the article was sold out
    -- again before it was sent.
    told_at timestamptz,
    -- The customer does not wait any more.
    withdrawn_at timestamptz
);

-- A customer waits once for an article.
create unique index waits_once on mail.waits (customer_id, sku)
    where told_at is null and withdrawn_at is null;
create index waits_by_article on mail.waits (sku, wait_id)
    where told_at is null and withdrawn_at is null;

create table mail.notifications (
    notification_id bigint generated always as identity primary key,
    -- What it tells of: the id of the event's message, or `wait:` and the wait's number.
    fact text not null,
    template text not null,
    channel text not null,
    order_id uuid,
    -- The event's number within its order.
    sequence integer,
    wait_id bigint references mail.waits,
    -- Without angle brackets. Derived, so that a mail that is sent again has the same.
    message_id text not null,
    policy text not null,
    state text not null default 'queued',
    -- Counts who took it up. Whoever does not have the last number changes nothing any more.
    claims integer not null default 0,
    -- How often the server put it off, broke off at it alone, or its answer was lost.
    deferrals integer not null default 0,
    -- How often it may have been sent, since an operator has last had it sent again: counted up when it
    -- becomes `sending`, and down again where it was certainly not sent.
    transmissions integer not null default 0,
    -- When it is due; while somebody is at it, until when they have time.
    next_try_at timestamptz not null default now(),
    -- The locale it was written in.
    locale text,
    -- Why it is put off, parked or skipped: a line without personal data.
    why text,
    -- By what the customer switches mails of this kind off, without signing in.
    unsubscribe uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now(),
    sending_at timestamptz,
    sent_at timestamptz,
    -- Since when it waits for a person, while it is parked.
    parked_at timestamptz,
    -- An operator has decided about it last.
    decided_by text,
    decided_at timestamptz,
    constraint notifications_once unique (fact, template, channel),
    constraint notifications_channel_known check (channel in ('mail', 'sms')),
    constraint notifications_policy_known check (policy in ('at-least-once', 'at-most-once')),
    constraint notifications_state_known
        check (state in ('queued', 'sending', 'sent', 'parked', 'skipped')),
    constraint notifications_of_an_order_or_a_wait
        check ((order_id is null) = (sequence is null) and (order_id is null) = (wait_id is not null)),
    constraint notifications_sent_at_a_time check ((state = 'sent') = (sent_at is not null)),
    constraint notifications_parked_at_a_time check ((state = 'parked') = (parked_at is not null)),
    constraint notifications_stopped_for_a_reason
        check (state not in ('parked', 'skipped') or why is not null)
);

-- An order is confirmed once, however often its payment has to be authorised.
create unique index notifications_confirmed_once on mail.notifications (order_id, channel)
    where template = 'confirmed';
-- Those about orders come before those about articles.
create index notifications_due on mail.notifications (channel, (wait_id is not null), next_try_at)
    where state in ('queued', 'sending');
-- Whether others were sent since one was tried last.
create index notifications_sent on mail.notifications (channel, sent_at) where sent_at is not null;
-- An order's mails are sent in their order.
create index notifications_under_way on mail.notifications (order_id, channel, notification_id)
    where state in ('queued', 'sending');
create index notifications_of_order on mail.notifications (order_id, notification_id);
create index notifications_by_state on mail.notifications (state, notification_id);
create unique index notifications_by_unsubscribe on mail.notifications (unsubscribe);

-- What a customer wants. No order refers to this: it may be erased.
create table customers.mail_preferences (
    customer_id text primary key,
    -- Where mails go, if not where the customer is registered.
    email text,
    locale text constraint mail_preferences_locale check (locale ~ '^[a-z]{2}(-[A-Z]{2})?$'),
    -- Templates that are not sent. The mails that every order needs cannot be among them.
    switched_off text[] not null default '{}',
    updated_at timestamptz not null default now()
);

-- An operator has a parked notification sent again; whether it was parked.
create function mail.retry(the_notification bigint, decider text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update mail.notifications
    set state = 'queued', next_try_at = now(), deferrals = 0, transmissions = 0, why = null,
        parked_at = null,
        decided_by = decider, decided_at = now()
    where notification_id = the_notification and state = 'parked';
    return found;
end
$$;

-- An operator gives a notification up that is parked or has still to be sent; whether it was that.
create function mail.skip(the_notification bigint, decider text, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update mail.notifications
    set state = 'skipped', why = reason, parked_at = null,
        decided_by = decider, decided_at = now()
    where notification_id = the_notification and state in ('parked', 'queued');
    return found;
end
$$;

-- Whoever has a mail's token switches off the mails of its kind; whether there is such a mail. What
-- the token stands for is seen by nobody who calls this.
create function mail.unsubscribe(the_token uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    whose text;
    of_template text;
begin
    select coalesce(orders.customer_id, waits.customer_id), notifications.template
    into whose, of_template
    from mail.notifications
    left join orders.orders on orders.order_id = notifications.order_id
    left join mail.waits on waits.wait_id = notifications.wait_id
    where notifications.unsubscribe = the_token;
    if whose is null then
        return false;
    end if;
    insert into customers.mail_preferences as known (customer_id, switched_off)
    values (whose, array[of_template])
    on conflict (customer_id) do update
    set switched_off = known.switched_off || excluded.switched_off, updated_at = now()
    where not known.switched_off @> excluded.switched_off;
    return true;
end
$$;

revoke execute on function mail.retry, mail.skip, mail.unsubscribe from public;

do $$
begin
    if to_regrole('ordersaga_starter') is not null then
        grant usage on schema mail to ordersaga_starter;
        -- Not the tokens by which mails are switched off.
        grant select (
            notification_id, fact, template, channel, order_id, sequence, wait_id, message_id, policy,
            state, claims, deferrals, next_try_at, locale, why, created_at, sending_at, sent_at,
            parked_at, decided_by, decided_at
        ) on mail.notifications to ordersaga_starter;
        grant select, insert, update (withdrawn_at) on mail.waits to ordersaga_starter;
        grant select, insert, update on customers.mail_preferences to ordersaga_starter;
        grant execute on function mail.retry, mail.skip, mail.unsubscribe to ordersaga_starter;
    end if;
    if to_regrole('ordersaga_relay') is not null then
        grant usage on schema mail, customers, orders, catalog, inventory, payments, outbox
            to ordersaga_relay;
        grant select, insert, update on mail.notifications to ordersaga_relay;
        grant select (wait_id, customer_id, sku, told_at, withdrawn_at), update (told_at)
            on mail.waits to ordersaga_relay;
        -- Whom a mail goes to, and what it says.
        grant select (customer_id, email, phone, name) on customers.customers to ordersaga_relay;
        grant select (address_id, name) on customers.addresses to ordersaga_relay;
        grant select (customer_id, email, locale, switched_off)
            on customers.mail_preferences to ordersaga_relay;
        grant select (
            order_id, customer_id, placed_at, currency, subtotal, discount, shipping, tax, total,
            country, address_id, lines, status, ending, payment_status, fulfilment_status
        ) on orders.orders to ordersaga_relay;
        grant select (order_id, sequence, type, version, data)
            on orders.order_events to ordersaga_relay;
        grant select (sku, on_hand, reserved) on inventory.stock to ordersaga_relay;
        grant select (sku, name) on catalog.products to ordersaga_relay;
        -- Until when a payment can be approved or replaced, and not where.
        grant select (order_id, attempt, state, approvable_until, replaceable_until, replaced_at)
            on payments.charges to ordersaga_relay;
        grant select (sink, created_at) on outbox.sinks to ordersaga_relay;
    end if;
    if to_regrole('ordersaga_worker') is not null then
        -- `prove` looks how often each may have been sent, and whether one is forgotten.
        grant usage on schema mail to ordersaga_worker;
        grant select (notification_id, template, channel, order_id, policy, state, deferrals,
            transmissions, next_try_at)
            on mail.notifications to ordersaga_worker;
    end if;
end
$$;
