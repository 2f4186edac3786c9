package cli

import (
	"context"
	"os"
	"os/signal"
	"slices"
)

// Notify is [signal.Notify] without the signals that were ignored when the process started, as by
// nohup or a shell that runs it in the background. Those stay ignored. The Go runtime detects this
// for SIGHUP and SIGINT.
func Notify(c chan<- os.Signal, all ...os.Signal) {
	for _, sig := range all {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
}

// UntilSignal returns a ctx that ends with the first of these signals or with stop. Signals that
// were ignored when the process started stay ignored.
func UntilSignal(ctx context.Context, all ...os.Signal) (_ context.Context, stop context.CancelFunc) {
	all = slices.DeleteFunc(all, signal.Ignored)
	if len(all) == 0 { // [signal.NotifyContext] without signals would take them all
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, all...)
}
