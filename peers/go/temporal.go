package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const taskQueue = "peers"

// Activities are the steps, as the SDK's samples write them: methods of a struct.
type Activities struct{ shop *Shop }

func (a *Activities) Open(ctx context.Context, o Order) error {
	return a.shop.inTransaction(ctx, func(run exec) error { return a.shop.open(ctx, run, o) })
}
func (a *Activities) Reserve(ctx context.Context, id string) error { return a.do(ctx, "reserve", id) }
func (a *Activities) Charge(ctx context.Context, id string) error  { return a.do(ctx, "charge", id) }
func (a *Activities) Post(ctx context.Context, id string) error    { return a.do(ctx, "post", id) }
func (a *Activities) Ship(ctx context.Context, id string) error    { return a.do(ctx, "ship", id) }
func (a *Activities) Recognise(ctx context.Context, id string) error {
	return a.do(ctx, "recognise", id)
}
func (a *Activities) Release(ctx context.Context, id string) error { return a.undo(ctx, "release", id) }
func (a *Activities) Refund(ctx context.Context, id string) error  { return a.undo(ctx, "refund", id) }
func (a *Activities) Reverse(ctx context.Context, id string) error { return a.undo(ctx, "reverse", id) }
func (a *Activities) Fail(ctx context.Context, id string) error    { return a.undo(ctx, "fail", id) }

func (a *Activities) do(ctx context.Context, name, id string) error {
	return a.shop.inTransaction(ctx, func(run exec) error { return a.shop.step(ctx, run, name, id) })
}

func (a *Activities) undo(ctx context.Context, name, id string) error {
	return a.shop.inTransaction(ctx, func(run exec) error { return a.shop.undo(ctx, run, name, id) })
}

// TextbookSaga is the saga of the SDK's samples: each step an activity, its compensation deferred
// once it has succeeded. Their three attempts, too; their timeout of a minute is ten seconds here,
// so that a run need not wait longer for what a killed worker had begun.
func TextbookSaga(ctx workflow.Context, o Order) (err error) {
	var a *Activities
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute, MaximumAttempts: 3,
		},
	})
	compensate := func(activity any) {
		if err != nil {
			err = errors.Join(err, workflow.ExecuteActivity(ctx, activity, o.ID).Get(ctx, nil))
		}
	}
	if err = workflow.ExecuteActivity(ctx, a.Open, o).Get(ctx, nil); err != nil {
		return err
	}
	// Runs last, after the compensations.
	defer compensate(a.Fail)
	if err = workflow.ExecuteActivity(ctx, a.Reserve, o.ID).Get(ctx, nil); err != nil {
		return err
	}
	defer compensate(a.Release)
	if err = workflow.ExecuteActivity(ctx, a.Charge, o.ID).Get(ctx, nil); err != nil {
		return err
	}
	defer compensate(a.Refund)
	if err = workflow.ExecuteActivity(ctx, a.Post, o.ID).Get(ctx, nil); err != nil {
		return err
	}
	defer compensate(a.Reverse)
	if err = workflow.ExecuteActivity(ctx, a.Ship, o.ID).Get(ctx, nil); err != nil {
		return err
	}
	return workflow.ExecuteActivity(ctx, a.Recognise, o.ID).Get(ctx, nil)
}

type temporalEngine struct {
	client client.Client
	worker worker.Worker
}

func newTemporal(shop *Shop, address string) (*temporalEngine, error) {
	c, err := client.Dial(client.Options{
		HostPort: address, Logger: log.NewStructuredLogger(slog.New(quiet)),
	})
	if err != nil {
		return nil, err
	}
	w := worker.New(c, taskQueue, worker.Options{})
	w.RegisterWorkflow(TextbookSaga)
	w.RegisterActivity(&Activities{shop})
	return &temporalEngine{c, w}, w.Start()
}

func (t *temporalEngine) start(ctx context.Context, o Order) (wait, error) {
	run, err := t.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: o.ID, TaskQueue: taskQueue}, TextbookSaga, o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return run.Get(ctx, nil) }, nil
}

func (t *temporalEngine) accept(ctx context.Context, o Order) error {
	_, err := t.start(ctx, o)
	return err
}
