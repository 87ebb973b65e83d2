-- Parties that are not the shop's own: which of them are stopped by a person's decision, and how
-- each worker deals with each of them.
--
-- A worker that finds a party in `stopped_parties` does not call it. No row: the party is called,
-- as long as it answers. A party that does not answer a worker is left alone by that worker for a
-- while; that a worker does so is said in `party_standings`, for operators and for nothing else.
create table operations.stopped_parties (
    party text primary key constraint stopped_parties_known
        check (party in ('payment-provider', 'carrier')),
    -- As the token named them.
    stopped_by text not null,
    why text not null,
    stopped_at timestamptz not null default now()
);

create table operations.party_standings (
    party text not null constraint party_standings_party_known
        check (party in ('payment-provider', 'carrier')),
    -- A process and its machine, such as `17@web-3`.
    worker text not null,
    state text not null constraint party_standings_state_known
        check (state in ('answering', 'left-alone', 'stopped')),
    since timestamptz not null,
    -- What the last call without an answer ended with; nothing about a customer.
    last_failure text,
    -- When the worker said so. One that has said nothing for a minute is gone.
    seen_at timestamptz not null default now(),
    primary key (party, worker)
);

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select on operations.stopped_parties to ordersaga_worker;
        grant select, insert, update, delete on operations.party_standings to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant select, insert, delete on operations.stopped_parties to ordersaga_starter;
        grant select on operations.party_standings to ordersaga_starter;
    end if;
end
$$;
