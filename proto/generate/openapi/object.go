package main

import (
	"bytes"
	"encoding/json"
)

// object is a JSON object whose members stay in their order.
type object []member

type member struct {
	name  string
	value any
}

// with returns the object with another member. A value of nil, "" or an empty list adds none.
func (o object) with(name string, value any) object {
	switch value := value.(type) {
	case nil:
		return o
	case string:
		if value == "" {
			return o
		}
	case []string:
		if len(value) == 0 {
			return o
		}
	case object:
		if len(value) == 0 {
			return o
		}
	}
	return append(o, member{name, value})
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	text.WriteByte('{')
	for i, one := range o {
		if i > 0 {
			text.WriteByte(',')
		}
		if err := encoder.Encode(one.name); err != nil {
			return nil, err
		}
		text.WriteByte(':')
		if err := encoder.Encode(one.value); err != nil {
			return nil, err
		}
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}
