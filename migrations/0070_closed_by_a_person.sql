-- What is listed for a person, and what nothing else ever closes, a person closes.
--
-- A difference between provider and shop is closed by the run that finds it gone. Some never go: a
-- refund that failed and was given by other means, a payment of another shop on the same account.
-- One that a person has settled is listed no more, for as long as both sides say what they said
-- then; a run that finds another amount closes it, and opens it anew.
--
-- An event of the payment provider stays open until it fits. One that never will is dismissed: it
-- is ignored, as one that is about nothing the shop keeps, with the name of whoever decided so.
set local lock_timeout = '3s';

alter table finance.differences
    -- When a person has settled it, who, and why.
    add column settled_at timestamptz,
    add column settled_by text,
    add column settled_why text constraint differences_settled_why_bounded
        check (char_length(settled_why) between 1 and 200),
    add constraint differences_settled_by_somebody
        check ((settled_at is null) = (settled_by is null and settled_why is null));

comment on table finance.differences is
    'Where provider and shop do not say the same. Closed by the run that finds it gone; a person '
    'may settle it before.';

-- A person has settled a difference that stands open; whether there was one which nobody had.
create function finance.settle_difference(
    the_difference bigint, the_operator text, the_reason text
) returns boolean language sql security definer set search_path = pg_catalog, pg_temp as $$
    with settled as (
        update finance.differences
        set settled_at = clock_timestamp(), settled_by = the_operator, settled_why = the_reason
        where difference_id = the_difference and closed_at is null and settled_at is null
        returning difference_id
    )
    select exists (select from settled)
$$;

alter table inbox.events
    -- Who has decided that nothing is to be done about it, and why.
    add column dismissed_by text,
    add column dismissed_why text,
    -- Of those that are there, none is dismissed, so they need not be read.
    add constraint events_dismissed_why_bounded
        check (char_length(dismissed_why) between 1 and 200) not valid,
    add constraint events_dismissed_by_somebody
        check ((dismissed_by is null) = (dismissed_why is null)) not valid,
    add constraint events_ignored_once_dismissed
        check (dismissed_by is null or state = 'ignored') not valid;

-- Nothing is to be done about an event that is open; whether it was. What it waited for stays on
-- record.
create function inbox.dismiss(the_event text, the_operator text, the_reason text) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with dismissed as (
        update inbox.events
        set state = 'ignored', done_at = now(), dismissed_by = the_operator,
            dismissed_why = the_reason
        where event_id = the_event and state = 'open'
        returning event_id
    )
    select exists (select from dismissed)
$$;

revoke execute on function finance.settle_difference, inbox.dismiss from public;

do $$
begin
    if to_regrole('ordersaga_starter') is not null then
        grant execute on function finance.settle_difference, inbox.dismiss to ordersaga_starter;
    end if;
end
$$;
