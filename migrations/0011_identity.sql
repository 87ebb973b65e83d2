-- Who may ask the starter for what, where no other issuer of tokens is named.
--
-- A schema of its own, because what is in it opens doors: the key that tokens are signed with,
-- and what passwords and secrets are recognised by. Nothing is joined with it, and a shop whose
-- tokens come from an identity provider of its own leaves it empty.
create schema identity;

-- Each key signs for 90 days and is recognised for one more, longer than any token lives. The
-- first is made when the first token is asked for or shown.
create table identity.signing_keys (
    -- The key's thumbprint (RFC 7638), by which a token names it.
    kid text primary key,
    -- PKCS #8.
    private_key bytea not null,
    created_at timestamptz not null default now()
);

-- How customers sign in.
create table identity.logins (
    customer_id text primary key,
    -- In lower case: people do not remember which letters they once wrote large.
    email text not null constraint logins_email_taken_once unique,
    -- In PHC's notation: algorithm, costs, salt and hash.
    password_hash text not null,
    created_at timestamptz not null default now()
);

-- Programs and staff, as the starter's settings name them.
create table identity.clients (
    client_id text primary key,
    role text not null constraint clients_role_known
        check (role in ('service', 'operator', 'finance')),
    secret_hash text not null,
    entered_at timestamptz not null default now()
);

do $$
begin
    -- Where 0010 could not make the role, the owner runs the application.
    if to_regrole('ordersaga_app') is null then
        return;
    end if;
    grant usage on schema identity to ordersaga_app;
    grant select, insert on identity.signing_keys, identity.logins to ordersaga_app;
    grant select, insert, update, delete on identity.clients to ordersaga_app;
end
$$;
