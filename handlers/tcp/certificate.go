package tcp

import (
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"time"
)

// A Certificate describes an X.509 certificate in a few words. Its JSON is that of Node.
type Certificate struct {
	Subject     string `json:"subject,omitempty"`     // OpenSSL's line: /C=UK/O=Node/CN=localhost
	Issuer      string `json:"issuer,omitempty"`      // as Subject
	ValidFrom   string `json:"valid_from,omitempty"`  // like "Nov 11 09:52:22 2009 GMT"
	ValidTo     string `json:"valid_to,omitempty"`    // as ValidFrom
	Fingerprint string `json:"fingerprint,omitempty"` // SHA-1, as FE:00:...
}

// openSSLTime is the layout in which OpenSSL prints a time.
const openSSLTime = "Jan _2 15:04:05 2006 GMT"

func describe(cert *x509.Certificate) Certificate {
	return Certificate{
		Subject:     oneLine(cert.RawSubject),
		Issuer:      oneLine(cert.RawIssuer),
		ValidFrom:   openSSLDate(cert.NotBefore),
		ValidTo:     openSSLDate(cert.NotAfter),
		Fingerprint: fingerprint(cert.Raw),
	}
}

func openSSLDate(t time.Time) string { return t.UTC().Format(openSSLTime) }

func fingerprint(der []byte) string {
	sum := sha1.Sum(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// oneLine returns the distinguished name der as OpenSSL's X509_NAME_oneline prints it, or "" if der
// is not a name.
func oneLine(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for _, set := range name {
		for _, attribute := range set {
			id := attribute.Type.String()
			if short, ok := shortNames[id]; ok {
				id = short
			}
			fmt.Fprintf(&b, "/%s=", id)
			escape(&b, fmt.Sprint(attribute.Value))
		}
	}
	return b.String()
}

// escape writes value, with each byte that is not printable ASCII in hex.
func escape(b *strings.Builder, value string) {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			fmt.Fprintf(b, `\x%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
}

// shortNames maps the identifiers of attributes to OpenSSL's short names.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.42": "GN", "2.5.4.43": "initials",
	"2.5.4.46": "dnQualifier", "1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.1": "UID",
}
