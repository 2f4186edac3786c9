package portluck

import (
	"reflect"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// The methods that raise events are for ports only. A program that had them could run two OnMessage
// of one client at once, or disconnect a client whose connection goes on.
func TestProgramsDriveNothing(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[*Client](), reflect.TypeFor[*Writer](), reflect.TypeFor[*Hub](), reflect.TypeFor[*Room](),
		reflect.TypeFor[*Server](), reflect.TypeFor[Verdict](), reflect.TypeFor[*RoomOptions](), reflect.TypeFor[Position](),
	}
	plumbing := []reflect.Type{
		reflect.TypeFor[handlers.Client](), reflect.TypeFor[handlers.Port](), reflect.TypeFor[handlers.Handler](),
		reflect.TypeFor[loop.Events](), reflect.TypeFor[loop.Drainer](), reflect.TypeFor[loop.FrameSource](),
		reflect.TypeFor[loop.Host](),
	}
	for _, typ := range types {
		for _, p := range plumbing {
			for m := range p.Methods() {
				own, ok := typ.MethodByName(m.Name)
				if ok && own.Type.NumIn() == m.Type.NumIn()+1 {
					t.Errorf("%v has the method %s of %v", typ, m.Name, p)
				}
			}
		}
	}
	if _, ok := reflect.TypeFor[*Client]().MethodByName("Writer"); !ok {
		t.Error("the methods of *Client are not seen")
	}
}
