package cli

import (
	"context"
	"errors"
	"testing"

	"github.com/spf13/cobra"
)

func TestRun(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want int
	}{
		{"good", []string{"good"}, 0},
		{"fails", []string{"fails"}, 1},
		{"a mistake that the command finds", []string{"wrong"}, 2},
		{"an argument too many", []string{"good", "x"}, 2},
		{"an unknown flag", []string{"good", "--x"}, 2},
		{"an unknown command", []string{"x"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := Root(&cobra.Command{Use: "test", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return nil }})
			for name, err := range map[string]error{"good": nil, "fails": errors.New("it fails"), "wrong": Usage(errors.New("it is wrong"))} {
				root.AddCommand(&cobra.Command{
					Use: name, Args: Args(cobra.NoArgs), RunE: func(*cobra.Command, []string) error { return err },
				})
			}
			root.SetArgs(tt.args)
			if got := Run(context.Background(), root); got != tt.want {
				t.Errorf("Run() = %d, want %d", got, tt.want)
			}
		})
	}
}
