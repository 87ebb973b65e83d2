-- The role of a Temporal cluster that persists in Postgres: on its own server, or on Ordersaga's
-- (docker-compose). It creates its two databases itself (postgres-schema.sh), and has no access to
-- Ordersaga's. Idempotent; updates the password.
\set ON_ERROR_STOP on
\getenv temporal_password TEMPORAL_DATABASE_PASSWORD
SELECT 'CREATE ROLE temporal' WHERE to_regrole('temporal') IS NULL \gexec
ALTER ROLE temporal LOGIN CREATEDB PASSWORD :'temporal_password';
-- The migrations grant access to the programs' roles.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'ordersaga') AS is_shared \gset
\if :is_shared
REVOKE CONNECT ON DATABASE ordersaga FROM PUBLIC;
\endif
