package alldata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// MaxKeySize is the longest key in bytes that a [Store] takes.
const MaxKeySize = 32 << 10

// parse returns the key and the event in the body of a _put: a JSON object with the members key, a
// string, and event. It ignores other members. Of members with the same name the last counts.
func parse(body []byte) (key string, event json.RawMessage, err error) {
	text, event, err := members(body)
	switch {
	case err != nil:
		return "", nil, refuse(http.StatusBadRequest, "the body is no JSON object: %s", line(err.Error()))
	case text == nil:
		return "", nil, refuse(http.StatusBadRequest, "there is no key")
	case text[0] != '"':
		return "", nil, refuse(http.StatusBadRequest, "the key is not a string")
	case event == nil:
		return "", nil, refuse(http.StatusBadRequest, "there is no event")
	case hasLoneSurrogate(text):
		return "", nil, refuse(http.StatusBadRequest, "the key has half a surrogate pair")
	}
	if err := json.Unmarshal(text, &key); err != nil {
		return "", nil, refuse(http.StatusBadRequest, "the key is not a string")
	}
	if key == "" {
		return "", nil, refuse(http.StatusBadRequest, "the key is empty")
	}
	return key, event, nil
}

// members returns the two members with exactly these names; json.Unmarshal would ignore case. It
// keeps no other members.
func members(body []byte) (key, event json.RawMessage, err error) {
	switch trimmed := bytes.TrimLeft(body, " \t\r\n"); {
	case !utf8.Valid(body):
		return nil, nil, errors.New("it is not UTF-8")
	case len(trimmed) == 0:
		return nil, nil, errors.New("it is empty")
	case trimmed[0] != '{':
		return nil, nil, fmt.Errorf("it begins with %q", bytes.Runes(trimmed[:min(len(trimmed), utf8.UTFMax)])[0])
	}
	if err := json.Unmarshal(body, new(struct{})); err != nil {
		return nil, nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	_, _ = d.Token() // the brace
	for d.More() {
		name, _ := d.Token() // the text is valid
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		switch name {
		case "key":
			key = value
		case "event":
			event = value
		}
	}
	return key, event, nil
}

// check checks that a store can keep the key and the event, and returns the event without white
// space.
func check(key string, event json.RawMessage) ([]byte, error) {
	switch {
	case key == "":
		return nil, fmt.Errorf("%w: the key is empty", ErrInvalid)
	case len(key) > MaxKeySize:
		return nil, fmt.Errorf("%w: the key is longer than %d bytes", ErrInvalid, MaxKeySize)
	case !utf8.ValidString(key):
		return nil, fmt.Errorf("%w: the key is not UTF-8", ErrInvalid)
	case !utf8.Valid(event):
		return nil, fmt.Errorf("%w: the event is not UTF-8", ErrInvalid)
	}
	var compact bytes.Buffer
	compact.Grow(len(event))
	if err := json.Compact(&compact, event); err != nil {
		return nil, fmt.Errorf("%w: the event is no JSON: %w", ErrInvalid, err)
	}
	return compact.Bytes(), nil
}
