// Package grpc tests README's recipe for gRPC with grpc-go, and that for an http.Handler with a
// router of a framework. It is a module of its own, so that the library needs neither.
package programs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/portluck"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// serveRPC serves gRPC's health check and the hub on one port.
func serveRPC(t *testing.T) (addr string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	srv := &portluck.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		Hub:       &portluck.Hub{OnMessage: func(m portluck.Message, w *portluck.Writer, _ *portluck.Client) { w.Send(m) }},
	}
	for service := range rpc.GetServiceInfo() {
		srv.Mount("/"+service+"/", rpc)
	}
	return serve(t, srv)
}

// A real gRPC client is served over h2c and TLS, unary and streaming, on the port that serves HTTP
// and WebSocket.
func TestHealth(t *testing.T) {
	addr := serveRPC(t)
	anyCert := &tls.Config{InsecureSkipVerify: true}
	for name, creds := range map[string]credentials.TransportCredentials{
		"h2c": insecure.NewCredentials(), "TLS": credentials.NewTLS(anyCert),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client := grpc_health_v1.NewHealthClient(conn)
			resp, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
			if err != nil || resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("Check() = %v, %v, want SERVING", resp, err)
			}
			_, err = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "nobody"})
			if status.Code(err) != codes.NotFound {
				t.Errorf("Check(nobody) = %v, want NotFound", err)
			}
			watch, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := watch.Recv(); err != nil || resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("Watch: Recv() = %v, %v, want SERVING", resp, err)
			}
		})
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: anyCert}}
	defer web.CloseIdleConnections()
	for _, scheme := range []string{"http://", "https://"} {
		resp, err := web.Post(scheme+addr, "text/plain", strings.NewReader("hi"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "hi\n" || err != nil {
			t.Errorf("%s: %q, %v", scheme, body, err)
		}
	}
	dialer := ws.Dialer{TLSConfig: anyCert}
	for _, scheme := range []string{"ws://", "wss://"} {
		c, _, _, err := dialer.Dial(t.Context(), scheme+addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := wsutil.WriteClientText(c, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if got, err := wsutil.ReadServerText(c); string(got) != "hi" || err != nil {
			t.Errorf("%s: %q, %v", scheme, got, err)
		}
	}
}
