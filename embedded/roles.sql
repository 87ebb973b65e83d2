-- The roles and the database of Ordersaga, for the embedded Postgres and for docker-compose alike.
-- Run by psql as a superuser at every start: it repeats without harm and takes up a changed password.
\set ON_ERROR_STOP on
\getenv owner_password ORDERSAGA_OWNER_PASSWORD
\getenv app_password ORDERSAGA_APP_PASSWORD

-- The owner runs the migrations. It is no superuser, so a migration that would need one is
-- found here and not at the first managed Postgres. Tests make databases of their own as owner.
SELECT 'CREATE ROLE ordersaga_owner' WHERE to_regrole('ordersaga_owner') IS NULL \gexec
ALTER ROLE ordersaga_owner LOGIN CREATEDB CREATEROLE PASSWORD :'owner_password';

-- Worker and starter: they get only the rights that the migrations grant to this role.
SELECT 'CREATE ROLE ordersaga_app' WHERE to_regrole('ordersaga_app') IS NULL \gexec
ALTER ROLE ordersaga_app LOGIN PASSWORD :'app_password';

SELECT 'CREATE DATABASE ordersaga OWNER ordersaga_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'ordersaga') \gexec
