-- Worker and starter check which migrations were applied before they report that they are ready.
--
-- The migrator owns its table, so reading it is a right of its own. The list holds no secret.
do $$
declare
    the_role text;
begin
    foreach the_role in array array['ordersaga_worker', 'ordersaga_starter'] loop
        if to_regrole(the_role) is not null then
            execute format('grant select on _sqlx_migrations to %I', the_role);
        end if;
    end loop;
end
$$;
