-- The role of a Temporal cluster that keeps its histories in Postgres: in one of its own, or in
-- Ordersaga's (docker-compose). It makes its two databases itself (postgres-schema.sh), and sees
-- nothing of Ordersaga's. Running it again changes nothing but the password.
\set ON_ERROR_STOP on
\getenv temporal_password TEMPORAL_DATABASE_PASSWORD
SELECT 'CREATE ROLE temporal' WHERE to_regrole('temporal') IS NULL \gexec
ALTER ROLE temporal LOGIN CREATEDB PASSWORD :'temporal_password';
-- The migrations let in who may: worker and starter.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'ordersaga') AS is_shared \gset
\if :is_shared
REVOKE CONNECT ON DATABASE ordersaga FROM PUBLIC;
\endif
