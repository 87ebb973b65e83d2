-- How often somebody has tried to sign in to an account without success, and how long the next
-- has to wait.
--
-- The limit by address does not stop who guesses one customer's password from many addresses;
-- this does, and it is here because all starters must count together. An attempt is counted
-- before its password is looked at, in one statement, so that a hundred at once are not a
-- hundred guesses; the right password takes the row away.
--
-- An address that nobody has is counted like any other, so that waiting tells nothing. What was
-- tried is kept as a hash alone: people type passwords where addresses belong.
create table identity.sign_in_attempts (
    -- SHA-256 of the e-mail address as it is compared.
    address_hash bytea primary key,
    in_a_row integer not null,
    tried_at timestamptz not null,
    wait_until timestamptz not null
);

-- Who has been quiet for a day is forgotten.
create index sign_in_attempts_by_time on identity.sign_in_attempts (tried_at);

do $$
begin
    if to_regrole('ordersaga_starter') is null then
        return;
    end if;
    grant select, insert, update, delete on identity.sign_in_attempts to ordersaga_starter;
    grant update (password_hash) on identity.logins to ordersaga_starter;
end
$$;
