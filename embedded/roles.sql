-- The roles and the database of Ordersaga, for the embedded Postgres and for docker-compose.
-- Run by psql as a superuser at every start: it is idempotent, and applies changed passwords.
\set ON_ERROR_STOP on
\getenv owner_password ORDERSAGA_OWNER_PASSWORD
\getenv worker_password ORDERSAGA_WORKER_PASSWORD
\getenv starter_password ORDERSAGA_STARTER_PASSWORD
\getenv relay_password ORDERSAGA_RELAY_PASSWORD

-- The owner runs the migrations. It is not a superuser, so a migration that needs one fails here
-- and not first on a managed Postgres. Tests create their databases as the owner.
SELECT 'CREATE ROLE ordersaga_owner' WHERE to_regrole('ordersaga_owner') IS NULL \gexec
ALTER ROLE ordersaga_owner LOGIN CREATEDB CREATEROLE PASSWORD :'owner_password';

-- Worker, starter and relay: each gets only the rights that the migrations grant to its role.
SELECT 'CREATE ROLE ordersaga_worker' WHERE to_regrole('ordersaga_worker') IS NULL \gexec
ALTER ROLE ordersaga_worker LOGIN PASSWORD :'worker_password';
SELECT 'CREATE ROLE ordersaga_starter' WHERE to_regrole('ordersaga_starter') IS NULL \gexec
ALTER ROLE ordersaga_starter LOGIN PASSWORD :'starter_password';
SELECT 'CREATE ROLE ordersaga_relay' WHERE to_regrole('ordersaga_relay') IS NULL \gexec
ALTER ROLE ordersaga_relay LOGIN PASSWORD :'relay_password';

-- The owner may switch to these roles without inheriting from them: so tests run with exactly the
-- programs' rights.
GRANT ordersaga_worker, ordersaga_starter, ordersaga_relay TO ordersaga_owner WITH INHERIT FALSE, SET TRUE;

-- The single role before migration 0014, which revokes all its rights; it cannot log in any more.
SELECT 'ALTER ROLE ordersaga_app NOLOGIN PASSWORD NULL' WHERE to_regrole('ordersaga_app') IS NOT NULL \gexec

SELECT 'CREATE DATABASE ordersaga OWNER ordersaga_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'ordersaga') \gexec
