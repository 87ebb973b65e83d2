-- What the rest of the company is to be told.
--
-- A message is written in the transaction that makes it true, so no effect is ever without its
-- message and no message without its effect, whatever dies in between. Sending it is another
-- process's work, later, at least once. Within an order the messages are numbered by the
-- order's own row lock (see `orders.record`), so `message_id` and `sequence` agree on their
-- order; across orders there is none.
--
-- `delivered_at` is the only column that is ever updated.
create schema outbox;

create table outbox.messages (
    message_id bigint generated always as identity primary key,
    order_id uuid not null,
    -- The event's number within its order: with the order's id it is the CloudEvents id, by
    -- which a consumer recognises a message that it is sent twice.
    sequence integer not null,
    type text not null,
    data jsonb not null,
    created_at timestamptz not null default now(),
    delivered_at timestamptz
);

-- What waits is found without reading what was sent.
create index messages_undelivered on outbox.messages (message_id) where delivered_at is null;
