-- A set of rules is tried out before it counts, and an operator makes it count.
--
-- Until now the newest set counted as soon as it was there, and only the schemas' owner could add
-- one. Now a new set is in the shadow: it looks at every order that the active one looks at, over
-- the same facts, and what it would have made of it is on record beside what was decided. An
-- activation makes a set count, from the next order on; a set of before can be activated again.
--
-- Who has brought a set in and who has activated it, when and why, is on record. A worker of before
-- takes the newest set for the one that counts.
set local lock_timeout = '3s';

alter table fraud.rule_sets
    -- Who has brought it in, as the token named them, and why; null if the schemas' owner has.
    add column added_by text,
    add column why text constraint rule_sets_why_bounded check (char_length(why) between 1 and 200);

create table fraud.activations (
    activation bigint generated always as identity primary key,
    rule_set integer not null references fraud.rule_sets,
    -- As the token named them; null if the schemas' owner did it.
    activated_by text,
    why text constraint activations_why_bounded check (char_length(why) between 1 and 200),
    activated_at timestamptz not null default now()
);

create index activations_by_rule_set on fraud.activations (rule_set, activation desc);

create trigger activations_append_only
    before update or delete or truncate on fraud.activations
    for each statement execute function orders.refuse_change();

comment on table fraud.activations is
    'Which set of rules counted from when on. The newest of these says which one counts.';

-- What counted until now.
insert into fraud.activations (rule_set) select max(version) from fraud.rule_sets;

-- The set that counts, and the one that is tried out: the newest, unless it has ever counted.
create view fraud.rule_sets_in_use as
select known.version, known.rules, known.version = active.rule_set as is_active
from fraud.rule_sets as known
cross join (
    select rule_set from fraud.activations order by activation desc limit 1
) as active
where known.version = active.rule_set
    or known.version = (select max(version) from fraud.rule_sets)
        and not exists (
            select from fraud.activations as before where before.rule_set = known.version
        );

-- What a set in the shadow would have made of an order: one for each screening, with its key.
create table fraud.trials (
    order_id uuid not null,
    version integer not null,
    attempt integer not null,
    -- The version of the set of rules that is tried out.
    rule_set integer not null references fraud.rule_sets,
    verdict text not null constraint trials_verdict_known
        check (verdict in ('approve', 'review', 'decline')),
    weight bigint not null,
    findings jsonb not null,
    tried_at timestamptz not null default now(),
    primary key (order_id, version, attempt)
);

create index trials_by_rule_set on fraud.trials (rule_set, tried_at desc);

-- Brings a set in; its version.
create function fraud.add_rule_set(the_rules jsonb, the_operator text, the_reason text)
returns integer language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into fraud.rule_sets (rules, added_by, why)
    values (the_rules, the_operator, the_reason)
    returning version
$$;

-- Makes a set count, from the next order on. Answers:
--
-- 'activated': done;
-- 'active': it counts already;
-- 'unknown': there is no such set.
create function fraud.activate_rule_set(the_version integer, the_operator text, the_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- One after the other: two that come at once are two activations, or a repeat.
    perform pg_advisory_xact_lock(hashtextextended('fraud.activations', 0));
    if not exists (select from fraud.rule_sets where rule_sets.version = the_version) then
        return 'unknown';
    end if;
    if the_version = (
        select activations.rule_set from fraud.activations
        order by activations.activation desc limit 1
    ) then
        return 'active';
    end if;
    insert into fraud.activations (rule_set, activated_by, why)
    values (the_version, the_operator, the_reason);
    return 'activated';
end
$$;

revoke execute on function fraud.add_rule_set, fraud.activate_rule_set from public;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select on fraud.rule_sets_in_use to ordersaga_worker;
        grant select, insert on fraud.trials to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant select on fraud.rule_sets, fraud.activations, fraud.rule_sets_in_use, fraud.trials
            to ordersaga_starter;
        grant execute on function fraud.add_rule_set, fraud.activate_rule_set to ordersaga_starter;
    end if;
end
$$;
