package main

import (
	"context"
	"log/slog"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// dbosEngine runs each step as `RunAsStep`, which the documentation has for everything, or as
// `RunAsTransaction`, which it has for what is in a database.
type dbosEngine struct {
	dbos dbos.Context
	shop *Shop
	// None: steps. It is the system database itself, so that a step and its record are one commit.
	source *dbos.DataSource
	queue  dbos.Queue
}

func newDbos(ctx context.Context, shop *Shop, url string, transactions bool) (*dbosEngine, error) {
	config := dbos.Config{AppName: "peers", DatabaseURL: url, Logger: slog.New(quiet)}
	if transactions {
		config.DatabaseURL, config.SystemDBPool = "", shop.db
	}
	d, err := dbos.NewContext(ctx, config)
	if err != nil {
		return nil, err
	}
	engine := &dbosEngine{dbos: d, shop: shop}
	if transactions {
		if engine.source, err = dbos.NewDataSource(d, shop.db); err != nil {
			return nil, err
		}
	}
	dbos.RegisterWorkflow(d, engine.Saga)
	if err := dbos.Launch(d); err != nil {
		return nil, err
	}
	engine.queue, err = dbos.RegisterQueue(d, "orders", dbos.WithWorkerConcurrency(100))
	return engine, err
}

// Saga is an ordinary function: a step that fails has those before it undone.
func (e *dbosEngine) Saga(ctx dbos.Context, o Order) (string, error) {
	if err := e.run(ctx, "open", func(ctx context.Context, run exec) error { return e.shop.open(ctx, run, o) }); err != nil {
		return "", err
	}
	var undos []string
	for _, step := range []struct{ do, undo string }{
		{"reserve", "release"}, {"charge", "refund"}, {"post", "reverse"}, {"ship", ""}, {"recognise", ""},
	} {
		err := e.run(ctx, step.do, func(ctx context.Context, run exec) error { return e.shop.step(ctx, run, step.do, o.ID) })
		if err != nil {
			return "", e.unwind(ctx, o.ID, undos, err)
		}
		if step.undo != "" {
			undos = append(undos, step.undo)
		}
	}
	return o.ID, nil
}

func (e *dbosEngine) unwind(ctx dbos.Context, id string, undos []string, why error) error {
	undo := func(name string) error {
		return e.run(ctx, name, func(ctx context.Context, run exec) error { return e.shop.undo(ctx, run, name, id) })
	}
	for i := len(undos) - 1; i >= 0; i-- {
		if err := undo(undos[i]); err != nil {
			return err
		}
	}
	if err := undo("fail"); err != nil {
		return err
	}
	return why
}

func (e *dbosEngine) run(ctx dbos.Context, name string, do func(context.Context, exec) error) error {
	if e.source == nil {
		_, err := dbos.RunAsStep(ctx, func(ctx context.Context) (bool, error) {
			return true, e.shop.inTransaction(ctx, func(run exec) error { return do(ctx, run) })
		}, dbos.WithStepName(name))
		return err
	}
	_, err := dbos.RunAsTransaction(ctx, e.source, func(ctx context.Context, tx dbos.Tx) (bool, error) {
		return true, do(ctx, func(ctx context.Context, sql string, args ...any) error {
			_, err := tx.Exec(ctx, sql, args...)
			return err
		})
	}, dbos.WithStepName(name))
	return err
}

func (e *dbosEngine) start(_ context.Context, o Order) (wait, error) {
	handle, err := dbos.RunWorkflow(e.dbos, e.Saga, o, dbos.WithWorkflowID(o.ID))
	if err != nil {
		return nil, err
	}
	return func(context.Context) error {
		_, err := handle.GetResult()
		return err
	}, nil
}

// accept puts it on a queue, as the documentation advises for more than can be run at once.
func (e *dbosEngine) accept(_ context.Context, o Order) error {
	_, err := dbos.RunWorkflow(e.dbos, e.Saga, o, dbos.WithWorkflowID(o.ID), dbos.WithQueue(e.queue))
	return err
}
