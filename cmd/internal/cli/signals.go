package cli

import (
	"context"
	"os"
	"os/signal"
	"slices"
)

// Notify is [signal.Notify] of those signals that were not ignored at the start: nohup, or a shell
// that starts a command in the background, has ignored some, and that holds. The Go runtime knows
// it of SIGHUP and SIGINT.
func Notify(c chan<- os.Signal, all ...os.Signal) {
	for _, sig := range all {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
}

// UntilSignal returns a ctx that ends with the first of the signals that were not ignored at the
// start, or with stop.
func UntilSignal(ctx context.Context, all ...os.Signal) (_ context.Context, stop context.CancelFunc) {
	all = slices.DeleteFunc(all, signal.Ignored)
	if len(all) == 0 { // which [signal.NotifyContext] takes for every signal
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, all...)
}
