package main

import (
	"context"
	"errors"
)

// bare is no engine at all: six transactions, one after the other. What a crash interrupts stays as
// it is, because nothing remembers it.
type bare struct{ shop *Shop }

func (b bare) start(ctx context.Context, o Order) (wait, error) {
	return func(ctx context.Context) error {
		err := b.shop.inTransaction(ctx, func(run exec) error { return b.shop.open(ctx, run, o) })
		if err != nil {
			return err
		}
		var undos []string
		for _, step := range []struct{ do, undo string }{
			{"reserve", "release"}, {"charge", "refund"}, {"post", "reverse"}, {"ship", ""}, {"recognise", ""},
		} {
			err = b.shop.inTransaction(ctx, func(run exec) error { return b.shop.step(ctx, run, step.do, o.ID) })
			if err != nil {
				return b.unwind(ctx, o.ID, undos, err)
			}
			if step.undo != "" {
				undos = append(undos, step.undo)
			}
		}
		return nil
	}, nil
}

func (b bare) unwind(ctx context.Context, id string, undos []string, why error) error {
	for i := len(undos) - 1; i >= 0; i-- {
		err := b.shop.inTransaction(ctx, func(run exec) error { return b.shop.undo(ctx, run, undos[i], id) })
		if err != nil {
			return err
		}
	}
	err := b.shop.inTransaction(ctx, func(run exec) error { return b.shop.undo(ctx, run, "fail", id) })
	if err != nil {
		return err
	}
	return why
}

func (b bare) accept(context.Context, Order) error {
	return errors.New("without an engine nothing is accepted before it is done")
}
