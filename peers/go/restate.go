package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	restate "github.com/restatedev/sdk-go"
	"github.com/restatedev/sdk-go/ingress"
	"github.com/restatedev/sdk-go/server"
)

// Orders is the service that the Restate server calls.
type orderService struct{ shop *Shop }

// Run is the saga of Restate's guide: compensations are collected, and run backwards once a step has
// failed for good. Any other failure is tried again, without end.
func (s orderService) Run(ctx restate.Context, o Order) (result string, err error) {
	var undos []string
	defer func() {
		if err == nil {
			return
		}
		for i := len(undos) - 1; i >= 0; i-- {
			err = errors.Join(err, asError(s.undo(ctx, undos[i], o.ID)))
		}
	}()
	opened := s.run(ctx, "open", func(ctx context.Context, run exec) error { return s.shop.open(ctx, run, o) })
	if opened != nil {
		return "", opened
	}
	undos = append(undos, "fail")
	for _, step := range []struct{ do, undo string }{
		{"reserve", "release"}, {"charge", "refund"}, {"post", "reverse"}, {"ship", ""}, {"recognise", ""},
	} {
		// Before the step: its outcome may be unknown.
		if step.undo != "" {
			undos = append(undos, step.undo)
		}
		failed := s.run(ctx, step.do, func(ctx context.Context, run exec) error { return s.shop.step(ctx, run, step.do, o.ID) })
		if failed != nil {
			return "", failed
		}
	}
	return o.ID, nil
}

func (s orderService) undo(ctx restate.Context, name, id string) restate.TerminalError {
	return s.run(ctx, name, func(ctx context.Context, run exec) error { return s.shop.undo(ctx, run, name, id) })
}

func (s orderService) run(ctx restate.Context, name string, do func(context.Context, exec) error) restate.TerminalError {
	return restate.RunVoid(ctx, func(ctx restate.RunContext) error {
		err := s.shop.inTransaction(ctx, func(run exec) error { return do(ctx, run) })
		// What the step's own rules refuse, such as goods that are not there.
		if refused := new(pgconn.PgError); errors.As(err, &refused) && refused.Code == "P0001" {
			return restate.ToTerminalError(err)
		}
		return err
	}, restate.WithName(name))
}

// asError keeps a terminal error that is none from becoming an error that is not nil.
func asError(failed restate.TerminalError) error {
	if failed == nil {
		return nil
	}
	return failed
}

type restateEngine struct {
	orders ingress.Requester[Order, string]
}

func newRestate(ctx context.Context, shop *Shop, listen, admin, entry string) (*restateEngine, error) {
	serving := server.NewRestate().WithLogger(quiet, true).
		Bind(restate.NewService("Order").Handler("Run", restate.NewServiceHandler(orderService{shop}.Run)))
	ended := make(chan error, 1)
	go func() { ended <- serving.Start(ctx, listen) }()
	if err := untilListens(listen, ended); err != nil {
		return nil, err
	}
	body, _ := json.Marshal(map[string]any{"uri": "http://" + listen, "force": true})
	answer, err := http.Post(admin+"/deployments", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		told, _ := io.ReadAll(answer.Body)
		return nil, fmt.Errorf("the Restate server takes no service: %s: %s", answer.Status, told)
	}
	connections := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	client := ingress.NewClient(entry, ingress.WithHttpClient(connections))
	return &restateEngine{ingress.Service[Order, string](client, "Order", "Run")}, nil
}

func untilListens(address string, ended <-chan error) error {
	for range 100 {
		if connection, err := net.Dial("tcp", address); err == nil {
			return connection.Close()
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("nobody listens on %s", address)
}

func (r *restateEngine) start(ctx context.Context, o Order) (wait, error) {
	sent, err := r.orders.Send(ctx, o, restate.WithIdempotencyKey(o.ID))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := sent.Attach(ctx)
		return err
	}, nil
}

// call waits in the request itself, which costs one request less.
func (r *restateEngine) call(ctx context.Context, o Order) error {
	_, err := r.orders.Request(ctx, o, restate.WithIdempotencyKey(o.ID))
	return err
}

func (r *restateEngine) accept(ctx context.Context, o Order) error {
	_, err := r.orders.Send(ctx, o, restate.WithIdempotencyKey(o.ID))
	return err
}
