package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Shop carries out steps, each in a transaction of its own.
type Shop struct {
	db *pgxpool.Pool
	// What a step does when it is carried out again: act, fail or skip (schema.sql).
	repeats string
}

// exec runs one statement in the transaction that a step was given.
type exec func(ctx context.Context, sql string, args ...any) error

func (s *Shop) inTransaction(ctx context.Context, do func(exec) error) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		return do(func(ctx context.Context, sql string, args ...any) error {
			_, err := tx.Exec(ctx, sql, args...)
			return err
		})
	})
}

func (s *Shop) open(ctx context.Context, run exec, o Order) error {
	return run(ctx, "select peer.open($1::text::uuid, $2::text::jsonb, $3)",
		o.ID, string(o.Placed), s.repeats)
}

// step carries out any other step of an order that is on record.
func (s *Shop) step(ctx context.Context, run exec, name, id string) error {
	return run(ctx, "select peer."+name+"($1::text::uuid, $2)", id, s.repeats)
}

// undo undoes a step; fail says that everything was undone.
func (s *Shop) undo(ctx context.Context, run exec, name, id string) error {
	return run(ctx, "select peer."+name+"($1::text::uuid)", id)
}
