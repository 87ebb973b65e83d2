-- Takes back what a new database has of the template's migrations.
do $$
declare
    theirs text;
begin
    for theirs in
        select nspname from pg_namespace
        where nspname not in ('public', 'information_schema') and nspname !~ '^pg_'
    loop
        execute format('drop schema %I cascade', theirs);
    end loop;
end
$$;
drop table if exists _sqlx_migrations;
